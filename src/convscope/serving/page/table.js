/** Many images as a table: a row each, whose name opens the answer. Rows are changed in place, so that focus stays. */

import { announce, find, make } from "./elements.js";
import { watchThumbnail } from "./thumbnails.js";
import { number, percent, words } from "./words.js";

const MAY_BREAK = /(?<=[/_ -])|(?=\.[^.]*$)/; // a file name: behind what parts it, and before its suffix

let rows = new Map(); // entry -> {row, name, label, confidence, state, filled}
let counts = new Map(); // path -> how many rows have it

/**
 * Show the table of these entries, if they are more than one.
 * @param {import("./images.js").Entry[]} entries
 * @param {(entry: import("./images.js").Entry) => void} onOpen
 */
export function showTable(entries, onOpen) {
  find("table").hidden = entries.length < 2;
  if (entries.length === 0) {
    rows = new Map();
    counts = new Map();
    find("rows").replaceChildren();
  }
  const added = entries.filter((entry) => !rows.has(entry));
  for (const entry of added) rows.set(entry, makeRow(entry, onOpen));
  find("rows").append(...added.map((entry) => rows.get(entry).row));
  for (const entry of entries) fillRow(entry, rows.get(entry));
  showProgress(entries);
}

/** Mark the row whose answer is shown. */
export function markRow(open) {
  for (const [entry, { name }] of rows) name.setAttribute("aria-current", String(entry === open));
}

function makeRow(entry, onOpen) {
  const canvas = make("canvas", { className: "thumbnail", "aria-hidden": "true", width: 0, height: 0 });
  const count = (counts.get(entry.path) ?? 0) + 1;
  counts.set(entry.path, count);
  const text = count === 1 ? entry.path : words().sameName(entry.path, count);
  const parts = text.split(MAY_BREAK).flatMap((part) => [make("wbr"), part]);
  const name = make("button", { type: "button", className: "open", translate: false }, ...parts);
  name.addEventListener("click", () => onOpen(entry));
  const cells = {
    label: make("td", { translate: false }),
    confidence: make("td", { className: "number" }),
    state: make("td", { className: "state" }),
  };
  const row = make("tr", {}, make("td", {}, canvas), make("th", { scope: "row" }, name), ...Object.values(cells));
  row.addEventListener("click", (event) => {
    if (event.target !== name) onOpen(entry); // the whole row, for a mouse; the button, for everybody
  });
  watchThumbnail(canvas, entry.file);
  return { row, name, ...cells };
}

/** Only where something is new: of thousands of rows an answer changes a few. */
function fillRow(entry, cells) {
  const now = [entry.state, entry.prediction, entry.error, words()];
  if (now.every((part, place) => part === cells.filled?.[place])) return;
  cells.filled = now;
  const { row, label, confidence, state } = cells;
  const { prediction } = entry;
  row.dataset.state = entry.state;
  label.textContent = prediction?.label ?? "";
  confidence.textContent = prediction === null ? "" : percent(prediction.confidence);
  const reason = entry.error === "" ? [] : [make("small", {}, entry.error)];
  state.replaceChildren(words().states[entry.state], ...reason);
}

function showProgress(entries) {
  const count = (...states) => entries.filter((entry) => states.includes(entry.state)).length;
  const done = entries.length - count("waiting", "asking");
  const progress = find("progress");
  progress.max = Math.max(entries.length, 1);
  progress.value = done;
  const [unreadable, failed] = [count("unreadable"), count("failed")];
  find("progress-words").textContent = [
    words().progressOf(number(done), number(entries.length)),
    ...(unreadable > 0 ? [words().unreadableOf(number(unreadable))] : []),
    ...(failed > 0 ? [words().failedOf(number(failed))] : []),
  ].join(" · ");
  find("download").disabled = done < entries.length;
  const again = find("ask-again");
  again.hidden = done < entries.length || count("failed") === 0;
  again.textContent = words().askAgain(number(count("failed")));
  if (entries.length > 1 && done === entries.length) {
    announce(words().answeredMany(number(count("ok")), number(entries.length)), { isSeen: false });
  }
}
