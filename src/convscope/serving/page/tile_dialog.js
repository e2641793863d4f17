/** The dialog that enlarges one tile beside the image; the arrow keys show the previous and the next tile. */

import { byId } from "./dom.js";

let shown = null;

/**
 * @param {Object} tile
 * @param {import("./tiles.js").Grid} tile.grid
 * @param {number} tile.index - of the tile to show first
 * @param {(canvas: HTMLCanvasElement, index: number) => void} tile.draw
 * @param {(index: number) => string} tile.title
 * @param {(index: number) => void} tile.onClose - called with the tile that was shown last
 */
export function openTileDialog(tile) {
  shown = { ...tile };
  const figure = byId("tile-image");
  figure.hidden = tile.grid.image === null;
  if (tile.grid.image !== null) figure.querySelector("img").src = tile.grid.image;
  byId("tile-text").textContent = tile.grid.description;
  render();
  byId("tile-dialog").showModal();
}

/** Connect the keys and buttons of the dialog. */
export function listenInDialog() {
  const dialog = byId("tile-dialog");
  byId("tile-close").addEventListener("click", () => dialog.close());
  byId("tile-previous").addEventListener("click", () => step(-1));
  byId("tile-next").addEventListener("click", () => step(1));
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // the backdrop, or the padding of the dialog
  });
  dialog.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    step(steps[event.key]);
  });
  dialog.addEventListener("close", () => shown.onClose(shown.index));
}

function step(offset) {
  const { count } = shown.grid;
  shown.index = (shown.index + offset + count) % count;
  render();
}

function render() {
  byId("tile-title").textContent = shown.title(shown.index);
  shown.draw(byId("tile-canvas"), shown.index);
}
