/** A picture that is a grid of channels or filters, cut into tiles: a strip to walk through, each to be enlarged. */

import { make } from "./elements.js";
import { enlarge } from "./enlarge.js";
import { number, words } from "./words.js";

const FIRST = 32; // tiles of a strip, until all are wanted

/**
 * @typedef {Object} Grid
 * @property {string} name
 * @property {string} picture - a PNG in a data URI
 * @property {number} height - of one tile in pixels
 * @property {number} width
 * @property {number} columns - of the grid
 * @property {number} count - of tiles, row by row
 * @property {(number: string, count: string) => string} title - of one tile
 * @property {string} words - what its shades mean
 * @property {?string} image - the image that the tiles are the answer to, if they are
 */

/**
 * A strip of tiles with the button that shows the rest.
 * @param {Grid} grid
 * @returns {Promise<Node[]>}
 */
export async function makeStrip(grid) {
  const picture = make("img", { src: grid.picture });
  await picture.decode();
  const strip = make("div", { className: "strip", role: "group", "aria-label": grid.name });
  const tiles = Array.from({ length: Math.min(FIRST, grid.count) }, (_, place) => makeTile(grid, picture, place));
  strip.append(...tiles);
  strip.addEventListener("click", (event) => openTile(event, { grid, picture, strip }));
  strip.addEventListener("keydown", (event) => walk(event, strip));
  holdFocus(strip, 0);
  return grid.count > FIRST ? [strip, makeMore(grid, picture, strip)] : [strip];
}

/** Draw one tile of a grid at its own size; CSS makes it as large as it is to be, with hard edges. */
export function drawTile(canvas, { grid, picture, place }) {
  const { width, height, columns } = grid;
  canvas.width = width;
  canvas.height = height;
  const left = (place % columns) * width;
  const top = Math.floor(place / columns) * height;
  canvas.getContext("2d").drawImage(picture, left, top, width, height, 0, 0, width, height);
}

function makeTile(grid, picture, place) {
  const canvas = make("canvas");
  drawTile(canvas, { grid, picture, place });
  return make("button", { type: "button", className: "tile", "aria-label": titleOf(grid, place) }, canvas);
}

function titleOf(grid, place) {
  return grid.title(number(place + 1), number(grid.count));
}

function makeMore(grid, picture, strip) {
  const button = make("button", { type: "button", className: "plain" });
  const say = () => {
    const isWhole = strip.children.length > FIRST;
    button.textContent = isWhole ? words().fewerTiles : words().allTiles(number(grid.count));
    button.setAttribute("aria-expanded", String(isWhole));
  };
  button.addEventListener("click", () => {
    if (strip.children.length > FIRST) {
      while (strip.children.length > FIRST) strip.lastChild.remove();
      holdFocus(strip, 0);
    } else {
      for (let place = FIRST; place < grid.count; place += 1) strip.append(makeTile(grid, picture, place));
      holdFocus(strip, 0);
    }
    say();
  });
  say();
  return button;
}

function openTile(event, { grid, picture, strip }) {
  const tile = event.target.closest(".tile");
  if (tile === null) return;
  enlarge({
    grid,
    place: [...strip.children].indexOf(tile),
    draw: (canvas, place) => drawTile(canvas, { grid, picture, place }),
    title: (place) => titleOf(grid, place),
    onClose: (place) => holdFocus(strip, Math.min(place, strip.children.length - 1)).focus(),
  });
}

/** One tile of a strip is reached with Tab, the others from it with the arrow keys: hundreds of stops are no way. */
function holdFocus(strip, place) {
  [...strip.children].forEach((tile, index) => {
    tile.tabIndex = index === place ? 0 : -1;
  });
  return strip.children[place];
}

function walk(event, strip) {
  const tiles = [...strip.children];
  const here = tiles.indexOf(document.activeElement);
  const columns = tiles.filter((tile) => tile.offsetTop === tiles[0].offsetTop).length;
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
  const places = { Home: 0, End: tiles.length - 1 };
  const place = places[event.key] ?? here + (steps[event.key] ?? Number.NaN);
  if (tiles[place] === undefined) return;
  event.preventDefault();
  holdFocus(strip, place).focus();
}
