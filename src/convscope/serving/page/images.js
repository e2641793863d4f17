/** The images of this visit, in the order in which they came: what a row of the table and an open answer share. */

import { Refused } from "./ask.js";

const MEGABYTE = 1024 * 1024;

/**
 * @typedef {Object} Entry
 * @property {File} file
 * @property {string} path - as it was dropped or chosen; shown as text only
 * @property {"waiting"|"asking"|"ok"|"unreadable"|"failed"} state
 * @property {?{label: string, confidence: number, probabilities: Object<string, number>}} prediction
 * @property {string} error - why there is no prediction
 * @property {?Refused} refusal - what stands behind `error`, where it is not about the image
 */

/** @returns {Entry} */
export function newEntry({ file, path }) {
  return { file, path, state: "waiting", prediction: null, error: "", refusal: null };
}

/**
 * The bytes of an image, read before they are sent: afterwards a lost file looks like a lost connection.
 * @throws {Refused} it is larger than the service takes, or cannot be read
 */
export async function bytesOf(entry, limits) {
  const { size } = entry.file;
  if (size > limits.max_bytes) {
    throw new Refused(413, ["tooLarge", (size / MEGABYTE).toFixed(1), Math.floor(limits.max_bytes / MEGABYTE)]);
  }
  try {
    return new Blob([await entry.file.arrayBuffer()]);
  } catch {
    throw new Refused(0, ["lost"]);
  }
}

/** Note what the service said of an image. */
export function notePrediction(entry, prediction) {
  entry.state = prediction.status;
  entry.error = prediction.error;
  entry.prediction = prediction.status === "ok" ? prediction : null;
  entry.refusal = null;
}

const UNREADABLE = "an image that cannot be used: "; // how routes.py begins when it refuses a single image with 415

/** Note why there is no answer: 415 is about the image, everything else about the question. */
export function noteRefusal(entry, refused) {
  const { found } = refused.describe();
  entry.prediction = null;
  entry.refusal = refused;
  entry.state = refused.status === 415 ? "unreadable" : "failed";
  entry.error = refused.status === 415 && found.startsWith(UNREADABLE) ? found.slice(UNREADABLE.length) : found;
}
