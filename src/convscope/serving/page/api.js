/** The HTTP API. Each call returns a response body or throws one ApiError; a request is retried after 503. */

import { readKey, requestKey } from "./api_key.js";
import { announce } from "./dom.js";
import { texts } from "./i18n.js";

const MAX_ATTEMPTS = 6;
const MAX_WAIT_SECONDS = 30;

/**
 * A request without a usable response.
 * `detail` is {found, expected, fix} as the service sent it, or the name of a text of the page with its values.
 */
export class ApiError extends Error {
  constructor(status, detail) {
    super(`status ${status}`);
    this.status = status;
    this.detail = detail;
  }

  /** {found, expected, fix}; a text of the page is in the current language. */
  describe() {
    if (this.isFromService) return this.detail;
    const [name, ...values] = this.detail;
    const text = texts()[name];
    return typeof text === "function" ? text(...values) : text;
  }

  /** Whether the detail was sent by the service, in English. */
  get isFromService() {
    return !Array.isArray(this.detail);
  }
}

/** The metadata of the model and the limits of a request: schemas.py, InfoResponse. */
export function fetchInfo() {
  return send("info", {});
}

/** The filters of the first convolution: schemas.py, FiltersResponse. */
export function fetchFilters() {
  return send("filters", {});
}

/** One prediction for each blob, in order: schemas.py, Prediction. */
export async function predictMany(blobs, signal) {
  const form = new FormData();
  for (const blob of blobs) form.append("file", blob, "image"); // predictions are in the order of the files
  return (await send("predict", { method: "POST", body: form, signal })).predictions;
}

/** The prediction for one image. */
export async function predictOne(blob, signal) {
  return (await send("predict", { ...withBody(blob), signal })).predictions[0];
}

/** Heat map and activations; className null: of the predicted class. schemas.py, ExplainResponse. */
export function explain(blob, className, signal) {
  const query = className === null ? "" : `?${new URLSearchParams({ class: className })}`;
  return send(`explain${query}`, { ...withBody(blob), signal });
}

function withBody(blob) {
  return { method: "POST", body: blob, headers: { "Content-Type": "application/octet-stream" } };
}

/** Send until there is a response, or an error that neither waiting nor a key fixes. */
async function send(path, request) {
  for (let attempt = 1; ; ) {
    const key = readKey();
    const response = await fetchWithKey(path, request, key);
    if (response.ok) return response.json();
    if (response.status === 401) {
      if (await requestKey(key)) continue;
    } else if (response.status === 503 && attempt < MAX_ATTEMPTS) {
      attempt += 1;
      await waitRetryAfter(response, attempt, request.signal);
      continue;
    }
    throw await toError(response);
  }
}

async function fetchWithKey(path, request, key) {
  const headers = key === null ? request.headers : { ...request.headers, Authorization: `Bearer ${key}` };
  try {
    return await fetch(path, { ...request, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, ["offline"]);
  }
}

async function waitRetryAfter(response, attempt, signal) {
  const retryAfter = Number.parseInt(response.headers.get("Retry-After") ?? "1", 10) || 1;
  const seconds = Math.min(Math.max(retryAfter, 1), MAX_WAIT_SECONDS);
  announce(texts().overloaded(seconds, attempt, MAX_ATTEMPTS));
  await new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

async function toError(response) {
  const body = await response.json().catch(() => null);
  const detail = body?.error;
  const isComplete = [detail?.found, detail?.expected, detail?.fix].every((text) => typeof text === "string");
  return new ApiError(response.status, isComplete ? detail : ["unknownResponse", response.status]);
}
