/** The table of images: a row each, whose file name opens the prediction. Rows are updated in place to keep the focus. */

import { announce, byId, createElement } from "./dom.js";
import { formatNumber, formatPercent, texts } from "./i18n.js";
import { watchThumbnail } from "./thumbnails.js";

const LINE_BREAK = /(?<=[/_ -])|(?=\.[^.]*$)/; // in a file name: after separators, and before the suffix

let rows = new Map(); // entry -> {row, name, label, confidence, state, rendered}
let counts = new Map(); // path -> number of its rows

/**
 * Show the table if there are at least two entries.
 * @param {import("./images.js").Entry[]} entries
 * @param {(entry: import("./images.js").Entry) => void} onOpen
 */
export function showTable(entries, onOpen) {
  byId("table").hidden = entries.length < 2;
  if (entries.length === 0) {
    rows = new Map();
    counts = new Map();
    byId("rows").replaceChildren();
  }
  const added = entries.filter((entry) => !rows.has(entry));
  for (const entry of added) rows.set(entry, createRow(entry, onOpen));
  byId("rows").append(...added.map((entry) => rows.get(entry).row));
  for (const entry of entries) updateRow(entry, rows.get(entry));
  showProgress(entries);
}

/** Mark the row whose prediction is shown. */
export function markRow(opened) {
  for (const [entry, { name }] of rows) name.setAttribute("aria-current", String(entry === opened));
}

function createRow(entry, onOpen) {
  const canvas = createElement("canvas", { className: "thumbnail", "aria-hidden": "true", width: 0, height: 0 });
  const count = (counts.get(entry.path) ?? 0) + 1;
  counts.set(entry.path, count);
  const text = count === 1 ? entry.path : texts().duplicateName(entry.path, count);
  const segments = text.split(LINE_BREAK).flatMap((segment) => [createElement("wbr"), segment]);
  const name = createElement("button", { type: "button", className: "file-name", translate: false }, ...segments);
  name.addEventListener("click", () => onOpen(entry));
  const cells = {
    label: createElement("td", { translate: false }),
    confidence: createElement("td", { className: "number" }),
    state: createElement("td", { className: "state" }),
  };
  const header = createElement("th", { scope: "row" }, name);
  const row = createElement("tr", {}, createElement("td", {}, canvas), header, ...Object.values(cells));
  row.addEventListener("click", (event) => {
    if (event.target !== name) onOpen(entry); // a mouse may click anywhere in the row
  });
  watchThumbnail(canvas, entry.file);
  return { row, name, ...cells };
}

/** Update a row if its entry has changed: a response changes few of thousands of rows. */
function updateRow(entry, cells) {
  const current = [entry.state, entry.prediction, entry.error, texts()];
  if (current.every((value, index) => value === cells.rendered?.[index])) return;
  cells.rendered = current;
  const { row, label, confidence, state } = cells;
  const { prediction } = entry;
  row.dataset.state = entry.state;
  label.textContent = prediction?.label ?? "";
  confidence.textContent = prediction === null ? "" : formatPercent(prediction.confidence);
  const reason = entry.error === "" ? [] : [createElement("small", {}, entry.error)];
  state.replaceChildren(texts().states[entry.state], ...reason);
}

function showProgress(entries) {
  const count = (...states) => entries.filter((entry) => states.includes(entry.state)).length;
  const done = entries.length - count("waiting", "running");
  const progress = byId("progress");
  progress.max = Math.max(entries.length, 1);
  progress.value = done;
  const [unreadable, failed] = [count("unreadable"), count("failed")];
  byId("progress-text").textContent = [
    texts().progressOf(formatNumber(done), formatNumber(entries.length)),
    ...(unreadable > 0 ? [texts().unreadableOf(formatNumber(unreadable))] : []),
    ...(failed > 0 ? [texts().failedOf(formatNumber(failed))] : []),
  ].join(" · ");
  byId("download").disabled = done < entries.length;
  const retry = byId("retry-failed");
  retry.hidden = done < entries.length || failed === 0;
  retry.textContent = texts().retryFailed(formatNumber(failed));
  if (entries.length > 1 && done === entries.length) {
    announce(texts().predictedMany(formatNumber(count("ok")), formatNumber(entries.length)), { isVisible: false });
  }
}
