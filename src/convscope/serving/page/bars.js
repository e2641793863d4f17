/** The probabilities of one image as bars, the most probable first; of many classes ten, until all are wanted. */

import { find, make } from "./elements.js";
import { number, percent, words } from "./words.js";

const FIRST = 10;

let isWhole = false;

/**
 * Show bars, or, without a prediction, none.
 * @param {?Object<string, number>} probabilities
 * @param {string[]} classes
 */
export function showBars(probabilities, classes) {
  const list = find("bars");
  const ranked = probabilities === null ? [] : rank(probabilities, classes);
  const shown = isWhole ? ranked : ranked.slice(0, FIRST);
  list.replaceChildren(...shown.map(bar));
  const button = find("all-bars");
  button.hidden = ranked.length <= FIRST;
  button.textContent = isWhole ? words().topClasses(number(FIRST)) : words().allClasses(number(ranked.length));
  button.setAttribute("aria-expanded", String(isWhole));
  button.onclick = () => {
    isWhole = !isWhole;
    showBars(probabilities, classes);
  };
}

/** The classes, the most probable first; of two that are equal the earlier one, as convscope ranks them. */
function rank(probabilities, classes) {
  return classes
    .map((name) => ({ name, share: probabilities[name] }))
    .sort((one, other) => other.share - one.share);
}

function bar({ name, share }, place) {
  const fill = make("span", { className: "bar-fill" });
  fill.style.width = `${share * 100}%`;
  return make(
    "li",
    { className: place === 0 ? "bar best" : "bar" },
    make("span", { className: "bar-name", title: name, translate: false }, name),
    make("span", { className: "bar-track", "aria-hidden": "true" }, fill),
    make("span", { className: "bar-value" }, percent(share)),
  );
}
