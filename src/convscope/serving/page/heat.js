/** The image with the heat over it: how strong the heat lies there, and whose it is. */

import { find, make } from "./elements.js";
import { words } from "./words.js";

const COARSE = 96; // pixels: below it hard edges show what the network has, above it they only look rough

/** Let the slider set how strong the heat lies over the image, and a button take it away. */
export function wireHeat() {
  find("opacity").addEventListener("input", renderOpacity);
  find("photo-only").addEventListener("click", ({ currentTarget }) => {
    currentTarget.setAttribute("aria-pressed", String(currentTarget.getAttribute("aria-pressed") !== "true"));
    renderOpacity();
  });
}

/** The slider's value in the words of the language, and as the layer's opacity. */
export function renderOpacity() {
  const { value } = find("opacity");
  const text = words().percent(value);
  const isBare = find("photo-only").getAttribute("aria-pressed") === "true";
  find("heat").style.opacity = String(isBare ? 0 : value / 100);
  find("opacity-words").textContent = text;
  find("opacity").setAttribute("aria-valuetext", text);
}

/** Offer classes to show the heat of; a place in the list is the option's value, since a name may be anything. */
export function chooseClasses(classes, onChoose) {
  const select = find("heat-class");
  select.replaceChildren(...classes.map((name, place) => make("option", { value: String(place) }, name)));
  select.onchange = () => onChoose(classes[Number(select.value)]);
}

/** Say whose heat is shown. */
export function setClass(name) {
  const select = find("heat-class");
  select.selectedIndex = [...select.options].findIndex((option) => option.textContent === name);
}

/**
 * Show the image as the network sees it, and the heat.
 * @param {Object} explanation - answers.py, Explanation
 */
export function showHeat(explanation, file, info) {
  const [seen, heat] = [find("seen"), find("heat")];
  seen.src = explanation.image;
  seen.alt = words().imageSeen(file);
  seen.classList.toggle("coarse", info.image_size < COARSE);
  heat.src = explanation.heatmap;
  heat.alt = words().heatOver(explanation.class);
  heat.hidden = false;
  find("heat-choices").hidden = false;
  setClass(explanation.class);
  renderOpacity();
}

/** Show the file itself, as long as there is no more to see. */
export function hideHeat(preview, file) {
  const seen = find("seen");
  if (seen.src !== preview) seen.src = preview;
  seen.alt = file;
  seen.classList.remove("coarse");
  find("heat").hidden = true;
  find("heat").removeAttribute("src");
  find("heat-choices").hidden = true;
}
