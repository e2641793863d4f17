/** The answer to one image: its bars, then its inside. A newer question calls off the one that is on its way. */

import { askExplanation, askPrediction, Refused } from "./ask.js";
import { showBars } from "./bars.js";
import { announce, find, make } from "./elements.js";
import { chooseClasses, hideHeat, setClass, showHeat } from "./heat.js";
import { bytesOf, notePrediction, noteRefusal } from "./images.js";
import { showInside } from "./inside.js";
import { hideRefusal, showRefusal } from "./refusal.js";
import { percent, words } from "./words.js";

let shown = null; // {entry, info, preview, explanation, onChange, isWorking}
let request = new AbortController();

/**
 * Show an image, ask what is not known of it yet, and show that as it comes.
 * @param {import("./images.js").Entry} entry
 * @param {Object} info - answers.py, Info
 * @param {() => void} onChange - called when the entry has changed
 */
export async function openAnswer(entry, info, onChange) {
  closeAnswer();
  shown = { entry, info, preview: URL.createObjectURL(entry.file), explanation: null, onChange, isWorking: true };
  chooseClasses(info.classes, askForClass);
  renderAnswer();
  await whileWorking(async (signal) => {
    await predict(signal);
    const { label, confidence } = entry.prediction;
    const said = words().answered(entry.path, label, percent(confidence));
    if (info.inside) {
      announce(words().looking(entry.path));
      await explain(null, signal);
    }
    announce(said, { isSeen: false });
  });
}

/** Take the answer away, and call off what is asked for it. */
export function closeAnswer() {
  request.abort();
  if (shown !== null) URL.revokeObjectURL(shown.preview);
  shown = null;
  hideRefusal();
  renderAnswer();
}

/** Show it anew: something has come, or the language has changed. */
export function renderAnswer() {
  find("answer").hidden = shown === null || shown.entry.refusal !== null;
  showInside(shown?.explanation ?? null);
  if (shown === null) return;
  const { entry, info, explanation, preview, isWorking } = shown;
  const { prediction } = entry;
  find("answer").setAttribute("aria-busy", String(isWorking));
  find("answer-file").textContent = entry.path;
  find("answer-label").textContent = prediction?.label ?? "";
  find("answer-sure").textContent = prediction === null ? "" : words().certain(percent(prediction.confidence));
  showBars(prediction?.probabilities ?? null, info.classes);
  if (explanation === null) {
    hideHeat(preview, entry.path);
    find("seen-words").textContent = info.inside ? "" : words().noInside;
  } else {
    showHeat(explanation, entry.path, info);
    find("seen-words").textContent = words().seenAs(info.image_size, info.channels === 1);
  }
}

async function predict(signal) {
  const { entry, info, onChange } = shown;
  if (entry.prediction !== null) return;
  announce(words().asking(entry.path));
  const prediction = await askPrediction(await bytesOf(entry, info.limits), signal);
  notePrediction(entry, prediction);
  onChange();
  renderAnswer();
}

async function explain(className, signal) {
  const { entry, info } = shown;
  const explanation = await askExplanation(await bytesOf(entry, info.limits), className, signal);
  if (signal.aborted) return;
  shown.explanation = explanation;
  renderAnswer();
}

function askForClass(className) {
  request.abort();
  return whileWorking(async (signal) => {
    await explain(className, signal);
    announce(words().heatOver(className), { isSeen: false });
  });
}

/** Do what asks the service; show that it is on its way, and what came instead of an answer. */
async function whileWorking(action) {
  const mine = new AbortController();
  const { entry, info, onChange } = shown;
  request = mine;
  shown.isWorking = true;
  hideRefusal();
  renderAnswer();
  try {
    await action(mine.signal);
  } catch (error) {
    if (mine.signal.aborted) return;
    if (!(error instanceof Refused)) throw error;
    announce("");
    if (entry.prediction === null) noteRefusal(entry, error);
    if (shown.explanation !== null) setClass(shown.explanation.class);
    onChange();
    const onRetry = () => {
      entry.refusal = null;
      openAnswer(entry, info, onChange);
    };
    showRefusal(error, { file: entry.path, onRetry });
  }
  if (mine.signal.aborted) return;
  shown.isWorking = false;
  renderAnswer();
}
