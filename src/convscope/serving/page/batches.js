/** Many images to few requests: within the service's limits, two at a time, and smaller ones where one was too much. */

import { askPredictions, askPrediction, Refused } from "./ask.js";
import { bytesOf, notePrediction, noteRefusal } from "./images.js";

const AT_ONCE = 2;
const MOST_IMAGES = 16; // in one request: the service takes more, but then progress would come in jumps
const MOST_BYTES = 16 * 1024 * 1024;
const SHARE_FOR_FILES = 0.9; // of a body: the rest is for what a form puts between them

/**
 * Ask about images; each entry is noted as it is answered.
 * @param {import("./images.js").Entry[]} entries
 * @param {{max_images: number, max_bytes: number}} limits - of one request
 * @param {() => void} onChange - called when an entry has changed
 * @param {AbortSignal} signal
 */
export async function askAll(entries, limits, onChange, signal) {
  const batches = dealOut(entries, limits);
  const worker = async () => {
    for (let batch = batches.shift(); batch && !signal.aborted; batch = batches.shift()) {
      await askBatch(batch, limits, onChange, signal);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/** Entries to lists that fit into a request each; one that fits into none has a list of its own. */
export function dealOut(entries, limits) {
  const mostImages = Math.min(MOST_IMAGES, limits.max_images);
  const mostBytes = Math.min(MOST_BYTES, limits.max_bytes * SHARE_FOR_FILES);
  const batches = [];
  let bytes = 0;
  for (const entry of entries) {
    const last = batches.at(-1);
    if (last === undefined || last.length === mostImages || bytes + entry.file.size > mostBytes) {
      batches.push([entry]);
      bytes = 0;
    } else {
      last.push(entry);
    }
    bytes += entry.file.size;
  }
  return batches;
}

async function askBatch(batch, limits, onChange, signal) {
  for (const entry of batch) entry.state = "asking";
  onChange();
  const { readable, blobs } = await readAll(batch, limits);
  if (readable.length > 0) {
    try {
      // one image goes as the body itself, which has no overhead
      const predictions =
        blobs.length === 1 ? [await askPrediction(blobs[0], signal)] : await askPredictions(blobs, signal);
      readable.forEach((entry, place) => notePrediction(entry, predictions[place]));
    } catch (refused) {
      await noteOrSplit(readable, refused, { limits, onChange, signal });
    }
  }
  onChange();
}

async function readAll(batch, limits) {
  const readable = [];
  const blobs = [];
  for (const entry of batch) {
    try {
      blobs.push(await bytesOf(entry, limits));
      readable.push(entry);
    } catch (refused) {
      noteRefusal(entry, refused);
    }
  }
  return { readable, blobs };
}

/** Half as many may arrive in time, be answered in time, or fit; nothing else is mended by asking for fewer. */
async function noteOrSplit(entries, refused, { limits, onChange, signal }) {
  if (signal.aborted) return;
  if (!(refused instanceof Refused)) throw refused;
  if (entries.length > 1 && [408, 413, 422, 503, 504].includes(refused.status)) {
    const middle = Math.ceil(entries.length / 2);
    await askBatch(entries.slice(0, middle), limits, onChange, signal);
    await askBatch(entries.slice(middle), limits, onChange, signal);
    return;
  }
  for (const entry of entries) noteRefusal(entry, refused);
}
