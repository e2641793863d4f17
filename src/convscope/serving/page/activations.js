/** The activations of each block for an image, similar training images, and the filters of the first convolution. */

import { byId, createElement } from "./dom.js";
import { formatNumber, texts } from "./i18n.js";
import { createTiles } from "./tiles.js";

let latest = 0; // decoding a picture takes a moment, in which a newer explanation may come
let drawn = { image: undefined, texts: null }; // the image whose activations are shown, and the language

/** @param {?Object} explanation - schemas.py, ExplainResponse; null: none */
export function showActivations(explanation) {
  const isNew = explanation?.image !== drawn.image || texts() !== drawn.texts;
  byId("blocks").hidden = explanation === null;
  if (isNew) drawBlocks(explanation);
  showNeighbours(explanation?.neighbours ?? []);
}

/** @param {Object} filters - schemas.py, FiltersResponse */
export async function showFilters(filters) {
  const { name, count, height, width, columns, picture } = filters;
  const tiles = await createTiles({
    ...{ name, count, height, width, columns, picture },
    title: (number, total) => texts().filter(name, number, total),
    description: texts().filtersHint,
    image: null,
  });
  const code = createElement("code", { translate: false }, name);
  const heading = createHeading(code, texts().filterCount(formatNumber(count), height, width));
  byId("filter-grid").replaceChildren(heading, ...tiles);
  byId("filters").hidden = false;
}

/** A heat map for another class comes with the same activations: they are kept, and so is the focus. */
async function drawBlocks(explanation) {
  drawn = { image: explanation?.image, texts: texts() };
  latest += 1;
  const current = latest;
  const blocks = await Promise.all((explanation?.blocks ?? []).map((block) => createBlock(block, explanation.image)));
  if (current === latest) byId("block-grids").replaceChildren(...blocks);
}

async function createBlock({ name, channels, height, width, columns, picture }, image) {
  const title = texts().activationsOf(name);
  const tiles = await createTiles({
    ...{ height, width, columns, picture, image },
    name: title,
    count: channels,
    title: (number, total) => texts().channel(name, number, total),
    description: texts().channelRange,
  });
  const heading = createHeading(title, texts().channelCount(formatNumber(channels), height, width));
  return createElement("div", {}, heading, ...tiles);
}

function createHeading(title, size) {
  return createElement("h3", {}, title, " ", createElement("small", {}, size));
}

/** @param {{picture: string, label: string, similarity: number}[]} neighbours */
function showNeighbours(neighbours) {
  byId("neighbours").hidden = neighbours.length === 0;
  byId("neighbour-list").replaceChildren(
    ...neighbours.map(({ picture, label, similarity }) =>
      createElement(
        "li",
        {},
        createElement("img", { src: picture, alt: "" }),
        createElement("span", { translate: false }, label),
        createElement("small", {}, texts().similarity(similarity.toFixed(2))),
      ),
    ),
  );
}
