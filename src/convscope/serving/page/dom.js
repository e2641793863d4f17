/** DOM helpers. Names of classes and files are untrusted: they become text, never markup. */

/** The element of index.html with an id. */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * A new element.
 * @param {string} tag
 * @param {Object<string, unknown>} properties - of the element; a name with a dash is an attribute
 * @param {...(Node|string)} children - a string becomes a text node
 */
export function createElement(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "scope") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/**
 * Show a text in the live region, which screen readers announce when it changes.
 * @param {string} text
 * @param {boolean} isVisible - false: for screen readers only, since the page shows it elsewhere
 */
export function announce(text, { isVisible = true } = {}) {
  const status = byId("status");
  status.classList.toggle("visually-hidden", !isVisible);
  if (status.textContent !== text) status.textContent = text;
}
