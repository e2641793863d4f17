/** The model card: the metadata of the model. Fields without a value are left out. */

import { byId, createElement } from "./dom.js";
import { formatNumber, formatPercent, languageTag, texts } from "./i18n.js";

const MAX_CLASSES = 12; // shown at first
const CHECKSUM_DIGITS = 12;
const LONG = new Set(["classes", "accuracy", "data"]); // their values stand below their names

/** @param {Object} info - schemas.py, InfoResponse */
export function showModelCard(info) {
  byId("model-name").textContent = info.name;
  document.title = `${info.name} · convscope`;
  const facts = {
    classes: formatClasses(info.classes),
    accuracy: formatAccuracy(info.metrics),
    data: formatData(info.data),
    network: info.network && [createElement("span", { translate: false }, info.network)],
    image: [texts().pixels(info.image_size, info.channels)],
    date: info.date && [formatDate(info.date)],
    license: info.license && [createElement("span", { translate: false }, info.license)],
    version: [info.version],
  };
  const rows = Object.entries(facts).filter(([, value]) => value);
  byId("facts").replaceChildren(
    ...rows.map(([name, value]) => {
      const cells = [createElement("dt", {}, texts().facts[name]), createElement("dd", {}, ...value)];
      return createElement("div", { className: LONG.has(name) ? "long" : "" }, ...cells);
    }),
  );
}

function formatClasses(classes) {
  const chip = (name) => createElement("li", {}, name);
  const list = (names) => createElement("ul", { className: "chips", translate: false }, ...names.map(chip));
  if (classes.length <= MAX_CLASSES) return [list(classes)];
  const rest = classes.slice(MAX_CLASSES);
  const summary = createElement("summary", {}, texts().moreClasses(formatNumber(rest.length)));
  return [list(classes.slice(0, MAX_CLASSES)), createElement("details", {}, summary, list(rest))];
}

function formatAccuracy(metrics) {
  const accuracy = metrics?.accuracy;
  if (typeof accuracy?.value !== "number") return null;
  const { value, low, high } = accuracy;
  const elements = [createElement("strong", {}, formatPercent(value))];
  if (typeof low === "number" && typeof high === "number") {
    const text = texts().interval(formatPercent(low), formatPercent(high));
    elements.push(drawInterval(accuracy), createElement("small", {}, text));
  }
  if (metrics.images) {
    const text = texts().evaluatedOn(formatNumber(metrics.images), metrics.split ?? "");
    elements.push(createElement("small", {}, text));
  }
  return elements;
}

/** A confidence interval on an axis from 0 to 1, with the value. */
function drawInterval({ value, low, high }) {
  const range = createElement("i", { className: "interval-range" });
  range.style.left = `${low * 100}%`;
  range.style.width = `${(high - low) * 100}%`;
  const point = createElement("i", { className: "interval-value" });
  point.style.left = `${value * 100}%`;
  return createElement("span", { className: "interval", "aria-hidden": "true" }, range, point);
}

function formatData(data) {
  if (typeof data?.images !== "number") return null;
  const elements = [texts().imageCounts(formatNumber(data.images), formatNumber(data.train))];
  if (typeof data.sha256 === "string") {
    const title = `${texts().checksumHint} ${data.sha256}`;
    const digits = createElement("code", { title }, data.sha256.slice(0, CHECKSUM_DIGITS));
    elements.push(createElement("small", {}, `${texts().checksum} `, digits));
  }
  return elements;
}

function formatDate(date) {
  const parsed = new Date(date);
  if (Number.isNaN(parsed.valueOf())) return date;
  return new Intl.DateTimeFormat(languageTag(), { dateStyle: "long" }).format(parsed);
}
