/** The probabilities of one image as bars, the highest first; the top 10 of many classes, or all. */

import { byId, createElement } from "./dom.js";
import { formatNumber, formatPercent, texts } from "./i18n.js";

const TOP = 10;

let showsAll = false;

/**
 * Show the bars; none without a prediction.
 * @param {?Object<string, number>} probabilities
 * @param {string[]} classes
 */
export function showBars(probabilities, classes) {
  const ranked = probabilities === null ? [] : rank(probabilities, classes);
  const shown = showsAll ? ranked : ranked.slice(0, TOP);
  byId("bars").replaceChildren(...shown.map(createBar));
  const button = byId("all-bars");
  button.hidden = ranked.length <= TOP;
  button.textContent = showsAll
    ? texts().topClasses(formatNumber(TOP))
    : texts().allClasses(formatNumber(ranked.length));
  button.setAttribute("aria-expanded", String(showsAll));
  button.onclick = () => {
    showsAll = !showsAll;
    showBars(probabilities, classes);
  };
}

/** The classes by probability, the highest first; ties are in the order of the classes, as in convscope. */
function rank(probabilities, classes) {
  return classes
    .map((name) => ({ name, probability: probabilities[name] }))
    .sort((a, b) => b.probability - a.probability);
}

function createBar({ name, probability }, index) {
  const fill = createElement("span", { className: "bar-fill" });
  fill.style.width = `${probability * 100}%`;
  return createElement(
    "li",
    { className: index === 0 ? "bar best" : "bar" },
    createElement("span", { className: "bar-name", title: name, translate: false }, name),
    createElement("span", { className: "bar-track", "aria-hidden": "true" }, fill),
    createElement("span", { className: "bar-value" }, formatPercent(probability)),
  );
}
