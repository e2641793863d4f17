/** The words of the language that is chosen, English or Chinese, and figures as people write them in it. */

import { CHINESE } from "./chinese.js";
import { ENGLISH } from "./english.js";
import { recall, remember } from "./memory.js";

const REMEMBERED = "convscope-language";

export const LANGUAGES = {
  en: { words: ENGLISH, name: "English", tag: "en-GB" },
  zh: { words: CHINESE, name: "中文", tag: "zh-Hans" },
};

let current = firstLanguage();

/** The words of the language that is chosen. */
export function words() {
  return LANGUAGES[current].words;
}

/** The tag of the language, as `lang` and Intl want it. */
export function languageTag() {
  return LANGUAGES[current].tag;
}

/** The language that is not chosen. */
export function otherLanguage() {
  return current === "en" ? "zh" : "en";
}

/** Change to the other language, and remember it. */
export function switchLanguage() {
  current = otherLanguage();
  remember(REMEMBERED, current);
}

/** Put the words of the language where index.html asks for them. */
export function fillWords() {
  document.documentElement.lang = languageTag();
  for (const element of document.querySelectorAll("[data-say]")) element.textContent = words()[element.dataset.say];
  for (const element of document.querySelectorAll("[data-say-label]")) {
    element.setAttribute("aria-label", words()[element.dataset.sayLabel]);
  }
}

/** A probability for people, 0 to 1: never "100 %" or "0 %" of what is only nearly so. */
export function percent(share) {
  const digits = share === 0 || share === 1 ? 0 : 1;
  const style = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  const format = (value) => new Intl.NumberFormat(languageTag(), style).format(value);
  if (share < 1 && share >= 0.9995) return `> ${words().percent(format(99.9))}`;
  if (share > 0 && share < 0.0005) return `< ${words().percent(format(0.1))}`;
  return words().percent(format(share * 100));
}

/** A count for people. */
export function number(value) {
  return new Intl.NumberFormat(languageTag()).format(value);
}

function firstLanguage() {
  const remembered = recall(REMEMBERED);
  if (remembered !== null && Object.hasOwn(LANGUAGES, remembered)) return remembered;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}
