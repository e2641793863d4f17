/** The prediction for one image, then its explanation. A newer request cancels the one that is running. */

import { showActivations } from "./activations.js";
import { ApiError, explain, predictOne } from "./api.js";
import { showBars } from "./bar_chart.js";
import { announce, byId } from "./dom.js";
import { hideError, showError } from "./errors.js";
import { hideHeatmap, listClasses, selectClass, showHeatmap } from "./heatmap.js";
import { formatPercent, texts } from "./i18n.js";
import { readBlob, setError, setPrediction } from "./images.js";

let shown = null; // {entry, info, preview, explanation, onChange, isBusy}
let running = new AbortController();

/**
 * Show an image, request its prediction, if need be, and its explanation, and show each when it arrives.
 * @param {import("./images.js").Entry} entry
 * @param {Object} info - schemas.py, InfoResponse
 * @param {() => void} onChange - called when the entry has changed
 */
export async function openPrediction(entry, info, onChange) {
  closePrediction();
  shown = { entry, info, preview: URL.createObjectURL(entry.file), explanation: null, onChange, isBusy: true };
  listClasses(info.classes, explainClass);
  renderPrediction();
  await run(async (signal) => {
    await loadPrediction(signal);
    const { label, confidence } = entry.prediction;
    const text = texts().predicted(entry.path, label, formatPercent(confidence));
    if (info.inside) {
      announce(texts().explaining(entry.path));
      await loadExplanation(null, signal);
    }
    announce(text, { isVisible: false });
  });
}

/** Remove the prediction, and cancel its requests. */
export function closePrediction() {
  running.abort();
  if (shown !== null) URL.revokeObjectURL(shown.preview);
  shown = null;
  hideError();
  renderPrediction();
}

/** Render it again, after a response or a change of the language. */
export function renderPrediction() {
  byId("prediction").hidden = shown === null || shown.entry.apiError !== null;
  showActivations(shown?.explanation ?? null);
  if (shown === null) return;
  const { entry, info, explanation, preview, isBusy } = shown;
  const { prediction } = entry;
  byId("prediction").setAttribute("aria-busy", String(isBusy));
  byId("prediction-file").textContent = entry.path;
  byId("prediction-label").textContent = prediction?.label ?? "";
  byId("prediction-confidence").textContent =
    prediction === null ? "" : texts().confidenceOf(formatPercent(prediction.confidence));
  showBars(prediction?.probabilities ?? null, info.classes);
  if (explanation === null) {
    hideHeatmap(preview, entry.path);
    byId("input-text").textContent = info.inside ? "" : texts().noInside;
  } else {
    showHeatmap(explanation, entry.path, info);
    byId("input-text").textContent = texts().modelInput(info.image_size, info.channels === 1);
  }
}

async function loadPrediction(signal) {
  const { entry, info, onChange } = shown;
  if (entry.prediction !== null) return;
  announce(texts().predicting(entry.path));
  setPrediction(entry, await predictOne(await readBlob(entry, info.limits), signal));
  onChange();
  renderPrediction();
}

async function loadExplanation(className, signal) {
  const { entry, info } = shown;
  const explanation = await explain(await readBlob(entry, info.limits), className, signal);
  if (signal.aborted) return;
  shown.explanation = explanation;
  renderPrediction();
}

function explainClass(className) {
  running.abort();
  return run(async (signal) => {
    await loadExplanation(className, signal);
    announce(texts().heatmapFor(className), { isVisible: false });
  });
}

/** Run an action that sends requests; show that it is running, and its error. */
async function run(action) {
  const controller = new AbortController();
  const { entry, info, onChange } = shown;
  running = controller;
  shown.isBusy = true;
  hideError();
  renderPrediction();
  try {
    await action(controller.signal);
  } catch (error) {
    if (controller.signal.aborted) return;
    if (!(error instanceof ApiError)) throw error;
    announce("");
    if (entry.prediction === null) setError(entry, error);
    if (shown.explanation !== null) selectClass(shown.explanation.class);
    onChange();
    const onRetry = () => {
      entry.apiError = null;
      openPrediction(entry, info, onChange);
    };
    showError(error, { file: entry.path, onRetry });
  }
  if (controller.signal.aborted) return;
  shown.isBusy = false;
  renderPrediction();
}
