/** The model input with the heat map over it: its opacity and its class. */

import { byId, createElement } from "./dom.js";
import { texts } from "./i18n.js";

const PIXELATED_SIZE = 96; // pixels: smaller images are shown with hard edges, as the network sees them

/** Connect the opacity slider and the button that hides the heat map. */
export function listenForOpacity() {
  byId("opacity").addEventListener("input", renderOpacity);
  byId("image-only").addEventListener("click", ({ currentTarget }) => {
    currentTarget.setAttribute("aria-pressed", String(currentTarget.getAttribute("aria-pressed") !== "true"));
    renderOpacity();
  });
}

/** Show the value of the slider, and apply it to the heat map. */
export function renderOpacity() {
  const { value } = byId("opacity");
  const text = texts().percent(value);
  const isHidden = byId("image-only").getAttribute("aria-pressed") === "true";
  byId("heatmap").style.opacity = String(isHidden ? 0 : value / 100);
  byId("opacity-text").textContent = text;
  byId("opacity").setAttribute("aria-valuetext", text);
}

/** Fill the list of classes; the value of an option is its index, since a name may be any text. */
export function listClasses(classes, onChoose) {
  const select = byId("heatmap-class");
  select.replaceChildren(...classes.map((name, index) => createElement("option", { value: String(index) }, name)));
  select.onchange = () => onChoose(classes[Number(select.value)]);
}

/** Select the class whose heat map is shown. */
export function selectClass(name) {
  const select = byId("heatmap-class");
  select.selectedIndex = [...select.options].findIndex((option) => option.textContent === name);
}

/**
 * Show the model input and the heat map.
 * @param {Object} explanation - schemas.py, ExplainResponse
 */
export function showHeatmap(explanation, file, info) {
  const [image, heatmap] = [byId("input-image"), byId("heatmap")];
  image.src = explanation.image;
  image.alt = texts().inputImage(file);
  image.classList.toggle("pixelated", info.image_size < PIXELATED_SIZE);
  heatmap.src = explanation.heatmap;
  heatmap.alt = texts().heatmapFor(explanation.class);
  heatmap.hidden = false;
  byId("heatmap-controls").hidden = false;
  selectClass(explanation.class);
  renderOpacity();
}

/** Show the file, while there is no explanation. */
export function hideHeatmap(preview, file) {
  const image = byId("input-image");
  if (image.src !== preview) image.src = preview;
  image.alt = file;
  image.classList.remove("pixelated");
  byId("heatmap").hidden = true;
  byId("heatmap").removeAttribute("src");
  byId("heatmap-controls").hidden = true;
}
