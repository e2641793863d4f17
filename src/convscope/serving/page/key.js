/** The API key, where the service wants one: asked for once, kept in this tab until it closes. */

import { find } from "./elements.js";
import { recallInTab, rememberInTab } from "./memory.js";
import { words } from "./words.js";

const KEPT = "convscope-key";
let given = recallInTab(KEPT);
let asked = null; // the question that is open, if one is

/** The key that was given, or null. */
export function readKey() {
  return given;
}

/**
 * Ask the person for a key; however many requests want one, the question is put once.
 * @param {string|null} tried - the key that the service did not take
 * @returns {Promise<boolean>} whether there is another one to try
 */
export function requestKey(tried) {
  if (given !== tried) return Promise.resolve(true); // it came while this request was on its way
  asked ??= openDialog(tried !== null).finally(() => {
    asked = null;
  });
  return asked;
}

function openDialog(isWrong) {
  const dialog = find("key");
  find("key-words").textContent = isWrong ? words().keyWrong : words().keyWords;
  find("key-field").value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    find("key-cancel").onclick = () => dialog.close("");
    find("key-form").onsubmit = (event) => {
      event.preventDefault();
      given = find("key-field").value.trim();
      rememberInTab(KEPT, given);
      dialog.close("given");
    };
    dialog.onclose = () => {
      find("key-field").value = "";
      resolve(dialog.returnValue === "given");
    };
  });
}
