/** Asking the service: one answer or one refusal to each question. Where it has too much to do, it is asked again. */

import { announce } from "./elements.js";
import { readKey, requestKey } from "./key.js";
import { words } from "./words.js";

const MOST_TRIES = 6;
const LONGEST_WAIT_SECONDS = 30;

/**
 * What the service said instead of an answer.
 * `parts` is {found, expected, fix} as the service wrote it, or the name of our own words for it with their values.
 */
export class Refused extends Error {
  constructor(status, parts) {
    super(`status ${status}`);
    this.status = status;
    this.parts = parts;
  }

  /** {found, expected, fix}, ours in the language that is chosen now. */
  describe() {
    if (!Array.isArray(this.parts)) return this.parts;
    const [name, ...values] = this.parts;
    const word = words()[name];
    return typeof word === "function" ? word(...values) : word;
  }

  /** Whether the parts are the service's own, which are in English. */
  get isForeign() {
    return !Array.isArray(this.parts);
  }
}

/** The model's card and the limits of a request: answers.py, Info. */
export function askInfo() {
  return ask("info", {});
}

/** The filters of the first convolution: answers.py, Filters. */
export function askFilters() {
  return ask("filters", {});
}

/** One prediction for each file, in order: answers.py, Prediction. */
export async function askPredictions(blobs, signal) {
  const form = new FormData();
  for (const blob of blobs) form.append("file", blob, "image"); // the service needs no name: the order tells
  return (await ask("predict", { method: "POST", body: form, signal })).predictions;
}

/** The prediction for one image. */
export async function askPrediction(blob, signal) {
  return (await ask("predict", { ...asBody(blob), signal })).predictions[0];
}

/** Why the model answers so, for a class or, with null, for the label: answers.py, Explanation. */
export function askExplanation(blob, className, signal) {
  const query = className === null ? "" : `?${new URLSearchParams({ class: className })}`;
  return ask(`explain${query}`, { ...asBody(blob), signal });
}

function asBody(blob) {
  return { method: "POST", body: blob, headers: { "Content-Type": "application/octet-stream" } };
}

/** Ask until there is an answer or a refusal that waiting or a key does not mend. */
async function ask(path, request) {
  for (let tries = 1; ; ) {
    const key = readKey();
    const response = await send(path, request, key);
    if (response.ok) return response.json();
    if (response.status === 401) {
      if (await requestKey(key)) continue;
    } else if (response.status === 503 && tries < MOST_TRIES) {
      tries += 1;
      await waitAsTold(response, tries, request.signal);
      continue;
    }
    throw await refusalOf(response);
  }
}

async function send(path, request, key) {
  const headers = key === null ? request.headers : { ...request.headers, Authorization: `Bearer ${key}` };
  try {
    return await fetch(path, { ...request, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, ["offline"]);
  }
}

async function waitAsTold(response, attempt, signal) {
  const told = Number.parseInt(response.headers.get("Retry-After") ?? "1", 10) || 1;
  const seconds = Math.min(Math.max(told, 1), LONGEST_WAIT_SECONDS);
  announce(words().overloaded(seconds, attempt, MOST_TRIES));
  await new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

async function refusalOf(response) {
  const body = await response.json().catch(() => null);
  const parts = body?.error;
  const isOurs = [parts?.found, parts?.expected, parts?.fix].every((part) => typeof part === "string");
  return new Refused(response.status, isOurs ? parts : ["strange", response.status]);
}
