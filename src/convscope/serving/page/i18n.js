/** The texts of the page in English or Chinese, and number formats of the language. */

import { readLocal, writeLocal } from "./storage.js";
import { ENGLISH } from "./translations_en.js";
import { CHINESE } from "./translations_zh.js";

const STORAGE_KEY = "convscope-language";

export const LANGUAGES = {
  en: { texts: ENGLISH, name: "English", tag: "en-GB" },
  zh: { texts: CHINESE, name: "中文", tag: "zh-Hans" },
};

let current = initialLanguage();

/** The texts of the current language. */
export function texts() {
  return LANGUAGES[current].texts;
}

/** The tag of the current language, for `lang` and Intl. */
export function languageTag() {
  return LANGUAGES[current].tag;
}

/** The language that is not current. */
export function otherLanguage() {
  return current === "en" ? "zh" : "en";
}

/** Switch to the other language, and store the choice. */
export function switchLanguage() {
  current = otherLanguage();
  writeLocal(STORAGE_KEY, current);
}

/** Set the texts of the elements of index.html that name one. */
export function translatePage() {
  document.documentElement.lang = languageTag();
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = texts()[element.dataset.text];
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", texts()[element.dataset.label]);
  }
}

/** A probability, 0 to 1, as a percentage. Only exactly 0 and 1 are shown as 0 and 100. */
export function formatPercent(probability) {
  const digits = probability === 0 || probability === 1 ? 0 : 1;
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  const format = (value) => texts().percent(new Intl.NumberFormat(languageTag(), options).format(value));
  if (probability < 1 && probability >= 0.9995) return `> ${format(99.9)}`;
  if (probability > 0 && probability < 0.0005) return `< ${format(0.1)}`;
  return format(probability * 100);
}

/** A count with the separators of the language. */
export function formatNumber(value) {
  return new Intl.NumberFormat(languageTag()).format(value);
}

function initialLanguage() {
  const stored = readLocal(STORAGE_KEY);
  if (stored !== null && Object.hasOwn(LANGUAGES, stored)) return stored;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}
