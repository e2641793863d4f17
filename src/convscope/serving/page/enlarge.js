/** The dialog that shows one tile large, beside the image; the arrow keys walk through its neighbours. */

import { find } from "./elements.js";

let shown = null;

/**
 * @param {Object} tile
 * @param {import("./tiles.js").Grid} tile.grid
 * @param {number} tile.place - the tile to begin with
 * @param {(canvas: HTMLCanvasElement, place: number) => void} tile.draw
 * @param {(place: number) => string} tile.title
 * @param {(place: number) => void} tile.onClose - called with the tile that was seen last
 */
export function enlarge(tile) {
  shown = { ...tile };
  const figure = find("channel-image");
  figure.hidden = tile.grid.image === null;
  if (tile.grid.image !== null) figure.querySelector("img").src = tile.grid.image;
  find("channel-words").textContent = tile.grid.words;
  render();
  find("channel").showModal();
}

/** Let keys and buttons of the dialog do what they say. */
export function wireEnlarging() {
  const dialog = find("channel");
  find("channel-close").addEventListener("click", () => dialog.close());
  find("channel-before").addEventListener("click", () => step(-1));
  find("channel-after").addEventListener("click", () => step(1));
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // beside it: what is inside has elements of its own
  });
  dialog.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    step(steps[event.key]);
  });
  dialog.addEventListener("close", () => shown.onClose(shown.place));
}

function step(by) {
  shown.place = (shown.place + by + shown.grid.count) % shown.grid.count;
  render();
}

function render() {
  const title = find("channel-title");
  title.textContent = shown.title(shown.place);
  shown.draw(find("channel-canvas"), shown.place);
}
