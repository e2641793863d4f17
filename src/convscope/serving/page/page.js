/** The page: the model is asked what it is, then images come in, one to be looked into or many into a table. */

import { closeAnswer, openAnswer, renderAnswer } from "./answer.js";
import { askFilters, askInfo, Refused } from "./ask.js";
import { askAll } from "./batches.js";
import { receiveImages } from "./bring.js";
import { receivePhotos } from "./camera.js";
import { showCard } from "./card.js";
import { toCsv } from "./csv.js";
import { announce, find, make } from "./elements.js";
import { wireEnlarging } from "./enlarge.js";
import { renderOpacity, wireHeat } from "./heat.js";
import { newEntry } from "./images.js";
import { showFilters } from "./inside.js";
import { readKey } from "./key.js";
import { hideRefusal, renderRefusal, showRefusal } from "./refusal.js";
import { markRow, showTable } from "./table.js";
import { fillWords, LANGUAGES, number, otherLanguage, switchLanguage, words } from "./words.js";

let entries = [];
let model = null; // {info, filters}
let asking = new AbortController();

start();

async function start() {
  fillWords();
  renderLanguage();
  wire();
  await meetModel();
}

function wire() {
  receiveImages(receive);
  receivePhotos(receive);
  wireEnlarging();
  wireHeat();
  renderOpacity();
  find("language").addEventListener("click", () => {
    switchLanguage();
    renderAll();
  });
  find("download").addEventListener("click", download);
  find("clear").addEventListener("click", clear);
  find("ask-again").addEventListener("click", () => askTable(entries.filter((entry) => entry.state === "failed")));
}

/** Ask what the model is; without that nothing can be asked about an image. */
async function meetModel() {
  announce(words().loading);
  try {
    const info = await askInfo();
    model = { info, filters: null };
    showCard(info);
    announce("");
    hideRefusal();
    find("addresses").hidden = readKey() !== null; // a link cannot send a key
    if (info.inside) model.filters = await askFilters();
    if (model.filters !== null) await showFilters(model.filters);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (model !== null) return; // without its weights a model has no filters to show, and all the rest
    announce("");
    showRefusal(error, { file: null, onRetry: meetModel });
  }
}

/** Take images in: a first one alone is opened, and with a second the table begins. */
async function receive(images, passedOver) {
  if (images.length === 0) {
    announce(passedOver > 0 ? words().passedOver(number(passedOver)) : words().noImages);
    return;
  }
  if (model === null) await meetModel();
  if (model === null) return;
  find("intro").classList.add("compact");
  const added = images.map(newEntry);
  entries = [...entries, ...added];
  renderTable();
  if (added.length === 1) {
    await open(added[0]);
  } else {
    closeAnswer();
    await askTable(added);
    if (passedOver > 0) announce(words().passedOver(number(passedOver)));
  }
}

async function open(entry) {
  const isFromTable = entries.length > 1;
  markRow(entry);
  entry.refusal = null;
  const answered = openAnswer(entry, model.info, renderTable);
  if (isFromTable) {
    find("answer-title").focus({ preventScroll: true });
    find("answer").scrollIntoView({ block: "start" });
  }
  await answered;
}

async function askTable(some) {
  for (const entry of some) entry.state = "waiting";
  renderTable();
  await askAll(some, model.info.limits, renderTable, asking.signal);
}

function clear() {
  asking.abort();
  asking = new AbortController();
  entries = [];
  closeAnswer();
  renderTable();
  announce("");
  find("intro").classList.remove("compact");
  find("choose").focus();
}

function download() {
  const address = URL.createObjectURL(new Blob([toCsv(entries, model.info.classes)], { type: "text/csv" }));
  make("a", { href: address, download: "predictions.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000); // once the browser has certainly begun to read it
}

function renderTable() {
  showTable(entries, open);
}

function renderLanguage() {
  const { name, tag } = LANGUAGES[otherLanguage()];
  find("language").textContent = name;
  find("language").lang = tag;
}

function renderAll() {
  fillWords();
  renderLanguage();
  renderOpacity();
  renderAnswer();
  renderRefusal();
  renderTable();
  announce("");
  if (model === null) return;
  showCard(model.info);
  if (model.filters !== null) showFilters(model.filters);
}
