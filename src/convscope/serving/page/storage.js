/** Web storage. The page also works in a browser that forbids it. */

/** The text under a key of the local storage, or null. */
export function readLocal(key) {
  return attempt(() => localStorage.getItem(key));
}

/** Write a text to the local storage. */
export function writeLocal(key, text) {
  attempt(() => localStorage.setItem(key, text));
}

/** The text under a key of the session storage, which lasts until the tab is closed, or null. */
export function readSession(key) {
  return attempt(() => sessionStorage.getItem(key));
}

/** Write a text to the session storage. */
export function writeSession(key, text) {
  attempt(() => sessionStorage.setItem(key, text));
}

function attempt(action) {
  try {
    return action();
  } catch {
    return null; // storage is forbidden, or full
  }
}
