/** Many images in few requests, within the limits of the service, two at a time; a batch that fails is split. */

import { ApiError, predictMany, predictOne } from "./api.js";
import { readBlob, setError, setPrediction } from "./images.js";

const CONCURRENT_REQUESTS = 2;
const MAX_IMAGES = 16; // per request: the service allows more, but progress would be coarse
const MAX_BYTES = 16 * 1024 * 1024;
const CONTENT_FRACTION = 0.9; // of a body: the rest is the overhead of the form

/**
 * Classify images; each entry is updated when its prediction arrives.
 * @param {import("./images.js").Entry[]} entries
 * @param {{max_images: number, max_bytes: number}} limits - of one request
 * @param {() => void} onChange - called when an entry has changed
 * @param {AbortSignal} signal
 */
export async function predictAll(entries, limits, onChange, signal) {
  const batches = makeBatches(entries, limits);
  const worker = async () => {
    for (let batch = batches.shift(); batch && !signal.aborted; batch = batches.shift()) {
      await predictBatch(batch, limits, onChange, signal);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENT_REQUESTS }, worker));
}

/** Lists of entries that fit into a request each; an entry that is too large is alone in its list. */
export function makeBatches(entries, limits) {
  const maxImages = Math.min(MAX_IMAGES, limits.max_images);
  const maxBytes = Math.min(MAX_BYTES, limits.max_bytes * CONTENT_FRACTION);
  const batches = [];
  let bytes = 0;
  for (const entry of entries) {
    const last = batches.at(-1);
    if (last === undefined || last.length === maxImages || bytes + entry.file.size > maxBytes) {
      batches.push([entry]);
      bytes = 0;
    } else {
      last.push(entry);
    }
    bytes += entry.file.size;
  }
  return batches;
}

async function predictBatch(batch, limits, onChange, signal) {
  for (const entry of batch) entry.state = "running";
  onChange();
  const { readable, blobs } = await readAll(batch, limits);
  if (readable.length > 0) {
    try {
      // one image is sent as the body, which has no overhead
      const predictions =
        blobs.length === 1 ? [await predictOne(blobs[0], signal)] : await predictMany(blobs, signal);
      readable.forEach((entry, index) => setPrediction(entry, predictions[index]));
    } catch (error) {
      await splitOrFail(readable, error, { limits, onChange, signal });
    }
  }
  onChange();
}

async function readAll(batch, limits) {
  const readable = [];
  const blobs = [];
  for (const entry of batch) {
    try {
      blobs.push(await readBlob(entry, limits));
      readable.push(entry);
    } catch (error) {
      setError(entry, error);
    }
  }
  return { readable, blobs };
}

/** Half the images may arrive in time, be processed in time, or fit; other errors are set for each image. */
async function splitOrFail(entries, error, { limits, onChange, signal }) {
  if (signal.aborted) return;
  if (!(error instanceof ApiError)) throw error;
  if (entries.length > 1 && [408, 413, 422, 503, 504].includes(error.status)) {
    const middle = Math.ceil(entries.length / 2);
    await predictBatch(entries.slice(0, middle), limits, onChange, signal);
    await predictBatch(entries.slice(middle), limits, onChange, signal);
    return;
  }
  for (const entry of entries) setError(entry, error);
}
