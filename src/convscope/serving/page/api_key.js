/** The API key, if the service requires one: requested once, kept until the tab is closed. */

import { byId } from "./dom.js";
import { texts } from "./i18n.js";
import { readSession, writeSession } from "./storage.js";

const STORAGE_KEY = "convscope-key";
let currentKey = readSession(STORAGE_KEY);
let pending = null; // the promise of the open dialog

/** The key that the user entered, or null. */
export function readKey() {
  return currentKey;
}

/**
 * Ask the user for a key; requests that need one at the same time share the dialog.
 * @param {string|null} rejected - the key that the service rejected
 * @returns {Promise<boolean>} whether there is another key to try
 */
export function requestKey(rejected) {
  if (currentKey !== rejected) return Promise.resolve(true); // entered while this request was running
  pending ??= openDialog(rejected !== null).finally(() => {
    pending = null;
  });
  return pending;
}

function openDialog(isWrong) {
  const dialog = byId("api-key");
  byId("api-key-text").textContent = isWrong ? texts().apiKeyWrong : texts().apiKeyHint;
  byId("api-key-field").value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    byId("api-key-cancel").onclick = () => dialog.close("");
    byId("api-key-form").onsubmit = (event) => {
      event.preventDefault();
      currentKey = byId("api-key-field").value.trim();
      writeSession(STORAGE_KEY, currentKey);
      dialog.close("entered");
    };
    dialog.onclose = () => {
      byId("api-key-field").value = "";
      resolve(dialog.returnValue === "entered");
    };
  });
}
