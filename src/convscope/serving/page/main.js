/** The page: it loads the metadata of the model, then classifies images: one in a card, many in a table. */

import { showFilters } from "./activations.js";
import { ApiError, fetchFilters, fetchInfo } from "./api.js";
import { readKey } from "./api_key.js";
import { predictAll } from "./batches.js";
import { listenForPhotos } from "./camera.js";
import { toCsv } from "./csv.js";
import { announce, byId, createElement } from "./dom.js";
import { hideError, renderError, showError } from "./errors.js";
import { listenForImages } from "./file_input.js";
import { listenForOpacity, renderOpacity } from "./heatmap.js";
import { formatNumber, LANGUAGES, otherLanguage, switchLanguage, texts, translatePage } from "./i18n.js";
import { newEntry } from "./images.js";
import { showModelCard } from "./model_card.js";
import { closePrediction, openPrediction, renderPrediction } from "./prediction.js";
import { markRow, showTable } from "./table.js";
import { listenInDialog } from "./tile_dialog.js";

let entries = [];
let model = null; // {info, filters}
let running = new AbortController();

start();

async function start() {
  translatePage();
  renderLanguageButton();
  listen();
  await loadModel();
}

function listen() {
  listenForImages(addImages);
  listenForPhotos(addImages);
  listenInDialog();
  listenForOpacity();
  renderOpacity();
  byId("language").addEventListener("click", () => {
    switchLanguage();
    renderAll();
  });
  byId("download").addEventListener("click", download);
  byId("clear").addEventListener("click", clear);
  byId("retry-failed").addEventListener("click", () => {
    predictTable(entries.filter((entry) => entry.state === "failed"));
  });
}

/** Load the metadata of the model, which all requests for images need, and its filters. */
async function loadModel() {
  announce(texts().loading);
  try {
    const info = await fetchInfo();
    model = { info, filters: null };
    showModelCard(info);
    announce("");
    hideError();
    byId("api-docs").hidden = readKey() !== null; // a link cannot send a key
    if (info.inside) model.filters = await fetchFilters();
    if (model.filters !== null) await showFilters(model.filters);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (model !== null) return; // a model without weights has no filters to show; all else works
    announce("");
    showError(error, { file: null, onRetry: loadModel });
  }
}

/** Add images: a single one is opened; the table is shown from two images on. */
async function addImages(images, numSkipped) {
  if (images.length === 0) {
    announce(numSkipped > 0 ? texts().skipped(formatNumber(numSkipped)) : texts().noImages);
    return;
  }
  if (model === null) await loadModel();
  if (model === null) return;
  byId("intro").classList.add("compact");
  const added = images.map(newEntry);
  entries = [...entries, ...added];
  renderTable();
  if (added.length === 1) {
    await open(added[0]);
  } else {
    closePrediction();
    await predictTable(added);
    if (numSkipped > 0) announce(texts().skipped(formatNumber(numSkipped)));
  }
}

async function open(entry) {
  const isFromTable = entries.length > 1;
  markRow(entry);
  entry.apiError = null;
  const opened = openPrediction(entry, model.info, renderTable);
  if (isFromTable) {
    byId("prediction-title").focus({ preventScroll: true });
    byId("prediction").scrollIntoView({ block: "start" });
  }
  await opened;
}

async function predictTable(selected) {
  for (const entry of selected) entry.state = "waiting";
  renderTable();
  await predictAll(selected, model.info.limits, renderTable, running.signal);
}

function clear() {
  running.abort();
  running = new AbortController();
  entries = [];
  closePrediction();
  renderTable();
  announce("");
  byId("intro").classList.remove("compact");
  byId("choose").focus();
}

function download() {
  const url = URL.createObjectURL(new Blob([toCsv(entries, model.info.classes)], { type: "text/csv" }));
  createElement("a", { href: url, download: "predictions.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // by then the browser has started to read it
}

function renderTable() {
  showTable(entries, open);
}

function renderLanguageButton() {
  const { name, tag } = LANGUAGES[otherLanguage()];
  byId("language").textContent = name;
  byId("language").lang = tag;
}

function renderAll() {
  translatePage();
  renderLanguageButton();
  renderOpacity();
  renderPrediction();
  renderError();
  renderTable();
  announce("");
  if (model === null) return;
  showModelCard(model.info);
  if (model.filters !== null) showFilters(model.filters);
}
