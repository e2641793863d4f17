/** The model's card: what it says of itself. What it does not say is left out. */

import { find, make } from "./elements.js";
import { languageTag, number, percent, words } from "./words.js";

const FIRST_CLASSES = 12;
const FINGERPRINT_DIGITS = 12;
const LONG = new Set(["classes", "accuracy", "data"]); // they do not fit beside their names

/** @param {Object} info - answers.py, Info */
export function showCard(info) {
  find("model-name").textContent = info.name;
  document.title = `${info.name} · convscope`;
  const facts = {
    classes: classesOf(info.classes),
    accuracy: accuracyOf(info.metrics),
    data: dataOf(info.data),
    network: info.network && [make("span", { translate: false }, info.network)],
    image: [words().pixels(info.image_size, info.channels)],
    date: info.date && [dateOf(info.date)],
    license: info.license && [make("span", { translate: false }, info.license)],
    version: [info.version],
  };
  const rows = Object.entries(facts).filter(([, value]) => value);
  find("facts").replaceChildren(
    ...rows.map(([name, value]) => {
      const parts = [make("dt", {}, words().facts[name]), make("dd", {}, ...value)];
      return make("div", { className: LONG.has(name) ? "long" : "" }, ...parts);
    }),
  );
}

function classesOf(classes) {
  const chip = (name) => make("li", {}, name);
  const list = (names) => make("ul", { className: "chips", translate: false }, ...names.map(chip));
  if (classes.length <= FIRST_CLASSES) return [list(classes)];
  const rest = classes.slice(FIRST_CLASSES);
  const summary = make("summary", {}, words().moreClasses(number(rest.length)));
  return [list(classes.slice(0, FIRST_CLASSES)), make("details", {}, summary, list(rest))];
}

function accuracyOf(metrics) {
  const accuracy = metrics?.accuracy;
  if (typeof accuracy?.value !== "number") return null;
  const { value, low, high } = accuracy;
  const parts = [make("strong", {}, percent(value))];
  if (typeof low === "number" && typeof high === "number") {
    parts.push(makeInterval(accuracy), make("small", {}, words().interval(percent(low), percent(high))));
  }
  if (metrics.images) parts.push(make("small", {}, words().judged(number(metrics.images), metrics.split ?? "")));
  return parts;
}

/** The interval as a stretch of a line from 0 to 1, with the value on it. */
function makeInterval({ value, low, high }) {
  const stretch = make("i", { className: "stretch" });
  stretch.style.left = `${low * 100}%`;
  stretch.style.width = `${(high - low) * 100}%`;
  const point = make("i", { className: "point" });
  point.style.left = `${value * 100}%`;
  return make("span", { className: "interval", "aria-hidden": "true" }, stretch, point);
}

function dataOf(data) {
  if (typeof data?.images !== "number") return null;
  const parts = [words().dataCounts(number(data.images), number(data.train))];
  if (typeof data.sha256 === "string") {
    const digits = make("code", { title: `${words().fingerprintHint} ${data.sha256}` }, data.sha256.slice(0, FINGERPRINT_DIGITS));
    parts.push(make("small", {}, `${words().fingerprint} `, digits));
  }
  return parts;
}

function dateOf(date) {
  const parsed = new Date(date);
  if (Number.isNaN(parsed.valueOf())) return date;
  return new Intl.DateTimeFormat(languageTag(), { dateStyle: "long" }).format(parsed);
}
