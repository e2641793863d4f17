/** Building what is shown. Names of classes and files are hostile: they become text, never markup. */

/** The element of index.html with an id. */
export function find(id) {
  return document.getElementById(id);
}

/**
 * A new element.
 * @param {string} tag
 * @param {Object<string, unknown>} properties - those of the element; a name with a dash is an attribute
 * @param {...(Node|string)} children - a string becomes a text node
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "scope") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/**
 * Say something in the line that screen readers read out when it changes.
 * @param {string} text
 * @param {boolean} isSeen - whether it is also to be read there; what stands elsewhere on the page is not said twice
 */
export function announce(text, { isSeen = true } = {}) {
  const status = find("status");
  status.classList.toggle("unseen", !isSeen);
  if (status.textContent !== text) status.textContent = text;
}
