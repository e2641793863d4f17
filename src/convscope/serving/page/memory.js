/** What the browser keeps for the page. A browser that keeps nothing is no reason to fail. */

/** What was kept under a name for good, or null. */
export function recall(name) {
  return attempt(() => localStorage.getItem(name));
}

/** Keep a text under a name for good. */
export function remember(name, text) {
  attempt(() => localStorage.setItem(name, text));
}

/** What was kept under a name until the tab closes, or null. */
export function recallInTab(name) {
  return attempt(() => sessionStorage.getItem(name));
}

/** Keep a text under a name until the tab closes. */
export function rememberInTab(name, text) {
  attempt(() => sessionStorage.setItem(name, text));
}

function attempt(action) {
  try {
    return action();
  } catch {
    return null; // storage is forbidden here, or full
  }
}
