/** What the network has inside: the channels of its blocks for an image, similar training images, its first filters. */

import { find, make } from "./elements.js";
import { makeStrip } from "./tiles.js";
import { number, words } from "./words.js";

let turn = 0; // cutting a picture takes a moment, in which a newer one may come
let drawn = { image: undefined, words: null }; // what the strips show, and in which language

/** @param {?Object} explanation - answers.py, Explanation; null: nothing */
export function showInside(explanation) {
  const isNew = explanation?.image !== drawn.image || words() !== drawn.words;
  find("blocks").hidden = explanation === null;
  if (isNew) drawBlocks(explanation);
  showNeighbours(explanation?.neighbours ?? []);
}

/** @param {Object} filters - answers.py, Filters */
export async function showFilters(filters) {
  const { name, count, height, width, columns, picture } = filters;
  const strip = await makeStrip({
    ...{ name, count, height, width, columns, picture },
    title: (place, all) => words().filter(name, place, all),
    words: words().filtersHint,
    image: null,
  });
  const title = makeTitle(name, words().filterCount(number(count), height, width));
  find("filter-tiles").replaceChildren(title, ...strip);
  find("filters").hidden = false;
}

/** Another class has other heat, but the same channels: they stay, with the focus that may be on one. */
async function drawBlocks(explanation) {
  drawn = { image: explanation?.image, words: words() };
  turn += 1;
  const mine = turn;
  const strips = await Promise.all((explanation?.blocks ?? []).map((block) => makeBlock(block, explanation.image)));
  if (mine === turn) find("strips").replaceChildren(...strips);
}

async function makeBlock({ name, channels, height, width, columns, picture }, image) {
  const strip = await makeStrip({
    ...{ name, height, width, columns, picture, image },
    count: channels,
    title: (place, all) => words().channel(name, place, all),
    words: words().channelWords,
  });
  return make("div", { className: "block" }, makeTitle(name, words().block(number(channels), height, width)), ...strip);
}

function makeTitle(name, size) {
  return make("h3", {}, make("span", { className: "name", translate: false }, name), " ", make("small", {}, size));
}

/** @param {{picture: string, label: string, similarity: number}[]} neighbours */
function showNeighbours(neighbours) {
  find("neighbours").hidden = neighbours.length === 0;
  find("neighbour-list").replaceChildren(
    ...neighbours.map(({ picture, label, similarity }) =>
      make(
        "li",
        {},
        make("img", { src: picture, alt: "" }),
        make("span", { translate: false }, label),
        make("small", {}, words().similarity(similarity.toFixed(2))),
      ),
    ),
  );
}
