/** A picture that is a grid of channels or filters, cut into tiles that can be enlarged. */

import { createElement } from "./dom.js";
import { formatNumber, texts } from "./i18n.js";
import { openTileDialog } from "./tile_dialog.js";

const FIRST_TILES = 32; // shown until the user asks for all

/**
 * @typedef {Object} Grid
 * @property {string} name
 * @property {string} picture - a PNG in a data URI
 * @property {number} height - of one tile in pixels
 * @property {number} width
 * @property {number} columns - of the picture
 * @property {number} count - of tiles, row by row
 * @property {(number: string, count: string) => string} title - of one tile
 * @property {string} description - of the grey values
 * @property {?string} image - the image whose activations the tiles are; null: they are filters
 */

/**
 * The tiles of a grid, and the button that shows all of them.
 * @param {Grid} grid
 * @returns {Promise<Node[]>}
 */
export async function createTiles(grid) {
  const picture = createElement("img", { src: grid.picture });
  await picture.decode();
  const container = createElement("div", { className: "tile-grid", role: "group", "aria-label": grid.name });
  const count = Math.min(FIRST_TILES, grid.count);
  container.append(...Array.from({ length: count }, (_, index) => createTile(grid, picture, index)));
  container.addEventListener("click", (event) => openTile(event, { grid, picture, container }));
  container.addEventListener("keydown", (event) => moveFocus(event, container));
  setTabStop(container, 0);
  return grid.count > FIRST_TILES ? [container, createMoreButton(grid, picture, container)] : [container];
}

/** Draw one tile in its original size; CSS enlarges it with hard edges. */
export function drawTile(canvas, { grid, picture, index }) {
  const { width, height, columns } = grid;
  canvas.width = width;
  canvas.height = height;
  const left = (index % columns) * width;
  const top = Math.floor(index / columns) * height;
  canvas.getContext("2d").drawImage(picture, left, top, width, height, 0, 0, width, height);
}

function createTile(grid, picture, index) {
  const canvas = createElement("canvas");
  drawTile(canvas, { grid, picture, index });
  return createElement("button", { type: "button", className: "tile", "aria-label": titleOf(grid, index) }, canvas);
}

function titleOf(grid, index) {
  return grid.title(formatNumber(index + 1), formatNumber(grid.count));
}

function createMoreButton(grid, picture, container) {
  const button = createElement("button", { type: "button", className: "text-button" });
  const update = () => {
    const showsAll = container.children.length > FIRST_TILES;
    button.textContent = showsAll ? texts().fewerTiles : texts().allTiles(formatNumber(grid.count));
    button.setAttribute("aria-expanded", String(showsAll));
  };
  button.addEventListener("click", () => {
    if (container.children.length > FIRST_TILES) {
      while (container.children.length > FIRST_TILES) container.lastChild.remove();
    } else {
      for (let index = FIRST_TILES; index < grid.count; index += 1) container.append(createTile(grid, picture, index));
    }
    setTabStop(container, 0);
    update();
  });
  update();
  return button;
}

function openTile(event, { grid, picture, container }) {
  const tile = event.target.closest(".tile");
  if (tile === null) return;
  openTileDialog({
    grid,
    index: [...container.children].indexOf(tile),
    draw: (canvas, index) => drawTile(canvas, { grid, picture, index }),
    title: (index) => titleOf(grid, index),
    onClose: (index) => setTabStop(container, Math.min(index, container.children.length - 1)).focus(),
  });
}

/** Roving tabindex: Tab reaches one tile of a grid, the arrow keys the others. */
function setTabStop(container, index) {
  [...container.children].forEach((tile, position) => {
    tile.tabIndex = position === index ? 0 : -1;
  });
  return container.children[index];
}

function moveFocus(event, container) {
  const tiles = [...container.children];
  const current = tiles.indexOf(document.activeElement);
  const columns = tiles.filter((tile) => tile.offsetTop === tiles[0].offsetTop).length;
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
  const targets = { Home: 0, End: tiles.length - 1 };
  const target = targets[event.key] ?? current + (steps[event.key] ?? Number.NaN);
  if (tiles[target] === undefined) return;
  event.preventDefault();
  setTabStop(container, target).focus();
}
