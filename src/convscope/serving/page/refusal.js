/** A refusal as the service writes it: what was found, what was expected, how to mend it. */

import { find, make } from "./elements.js";
import { words } from "./words.js";

let shown = null;

/**
 * Show why there is no answer.
 * @param {import("./ask.js").Refused} refused
 * @param {{file: ?string, onRetry: ?() => void}} about - the image it is about; what to do when told to try again
 */
export function showRefusal(refused, { file, onRetry }) {
  shown = { refused, file, onRetry };
  renderRefusal();
  find("refusal").scrollIntoView({ block: "nearest" }); // it may have been asked for far below, in the table
}

/** Take it away. */
export function hideRefusal() {
  shown = null;
  renderRefusal();
}

/** Show it anew, in the language that is chosen now. */
export function renderRefusal() {
  find("refusal").replaceChildren(...(shown === null ? [] : [makeRefusal(shown)]));
}

function makeRefusal({ refused, file, onRetry }) {
  const parts = refused.describe();
  const title = file === null ? words().refusedAll : words().refusedTitle(file);
  const facts = ["found", "expected", "fix"].flatMap((part) => [
    make("dt", {}, words()[part]),
    make("dd", refused.isForeign ? { lang: "en" } : {}, parts[part]),
  ]);
  const box = make("div", { className: "refused" }, make("h2", {}, title), make("dl", {}, ...facts));
  // an image that cannot be used does not get better by itself
  if (onRetry !== null && refused.status !== 415 && refused.status !== 413) {
    box.append(make("button", { type: "button", onclick: onRetry }, words().retry));
  }
  return box;
}
