/** The error card: what was found, what was expected, how to fix it. */

import { byId, createElement } from "./dom.js";
import { texts } from "./i18n.js";

let shown = null;

/**
 * Show an error.
 * @param {import("./api.js").ApiError} error
 * @param {{file: ?string, onRetry: ?() => void}} context - the image, null: the model; what the retry button does
 */
export function showError(error, { file, onRetry }) {
  shown = { error, file, onRetry };
  renderError();
  byId("error").scrollIntoView({ block: "nearest" }); // the row that was clicked may be far below
}

/** Remove the error. */
export function hideError() {
  shown = null;
  renderError();
}

/** Render the error in the current language. */
export function renderError() {
  byId("error").replaceChildren(...(shown === null ? [] : [createCard(shown)]));
}

function createCard({ error, file, onRetry }) {
  const detail = error.describe();
  const title = file === null ? texts().modelErrorTitle : texts().errorTitle(file);
  const rows = ["found", "expected", "fix"].flatMap((name) => [
    createElement("dt", {}, texts()[name]),
    createElement("dd", error.isFromService ? { lang: "en" } : {}, detail[name]),
  ]);
  const heading = createElement("h2", {}, title);
  const card = createElement("div", { className: "error-card" }, heading, createElement("dl", {}, ...rows));
  // an unreadable or too large image stays so
  if (onRetry !== null && error.status !== 415 && error.status !== 413) {
    card.append(createElement("button", { type: "button", onclick: onRetry }, texts().retry));
  }
  return card;
}
