/** The images of this session and their predictions, which the table and the prediction card share. */

import { ApiError } from "./api.js";

const MEGABYTE = 1024 * 1024;

/**
 * @typedef {Object} Entry
 * @property {File} file
 * @property {string} path - as dropped or chosen; shown as text only
 * @property {"waiting"|"running"|"ok"|"unreadable"|"failed"} state
 * @property {?{label: string, confidence: number, probabilities: Object<string, number>}} prediction
 * @property {string} error - why there is no prediction
 * @property {?ApiError} apiError - the error of the request, if the request failed
 */

/** @returns {Entry} */
export function newEntry({ file, path }) {
  return { file, path, state: "waiting", prediction: null, error: "", apiError: null };
}

/**
 * The bytes of an image, read before they are sent: while sending, a deleted file looks like a lost connection.
 * @throws {ApiError} the file is larger than the limit, or unreadable
 */
export async function readBlob(entry, limits) {
  const { size } = entry.file;
  if (size > limits.max_bytes) {
    throw new ApiError(413, ["tooLarge", (size / MEGABYTE).toFixed(1), Math.floor(limits.max_bytes / MEGABYTE)]);
  }
  try {
    return new Blob([await entry.file.arrayBuffer()]);
  } catch {
    throw new ApiError(0, ["unreadableFile"]);
  }
}

/** Set the prediction for an image: schemas.py, Prediction. */
export function setPrediction(entry, prediction) {
  entry.state = prediction.status;
  entry.error = prediction.error;
  entry.prediction = prediction.status === "ok" ? prediction : null;
  entry.apiError = null;
}

const UNREADABLE = "an image that cannot be used: "; // the prefix of the 415 errors of routes.py

/** Set why an image has no prediction: 415 means that the image is unreadable, all others that the request failed. */
export function setError(entry, error) {
  const { found } = error.describe();
  entry.prediction = null;
  entry.apiError = error;
  entry.state = error.status === 415 ? "unreadable" : "failed";
  entry.error = error.status === 415 && found.startsWith(UNREADABLE) ? found.slice(UNREADABLE.length) : found;
}
