/** How images come in: chosen, dropped with the folders they are in, pasted. All end in `onImages`. */

import { find } from "./elements.js";

const SUFFIX = /\.(?:jpe?g|png|webp|bmp|gif|tiff?)$/i; // as images/reading.py has them

/**
 * @typedef {{file: File, path: string}} Brought
 * @param {(images: Brought[], passedOver: number) => void} onImages - `passedOver` counts files of dropped folders
 */
export function receiveImages(onImages) {
  receiveChosen(find("choose"), find("files"), onImages);
  receiveDropped(onImages);
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return; // text, perhaps meant for a field
    event.preventDefault();
    onImages(files.map(asBrought), 0);
  });
}

/** Let a button open a file field, and take what is chosen there. */
export function receiveChosen(button, field, onImages) {
  button.addEventListener("click", () => field.click());
  field.addEventListener("change", () => {
    const images = [...field.files].map(asBrought);
    field.value = ""; // so that choosing the same file again is a change
    if (images.length > 0) onImages(images, 0);
  });
}

function asBrought(file) {
  return { file, path: file.name };
}

/** The whole window takes drops: a near miss must not make the browser leave the page. */
function receiveDropped(onImages) {
  const isOver = (over) => document.body.classList.toggle("dropping", over);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    isOver(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) isOver(false); // it left the window
  });
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    isOver(false);
    const { images, passedOver } = await imagesOf(event.dataTransfer);
    onImages(images, passedOver);
  });
}

async function imagesOf(transfer) {
  // both are asked at once: after the first wait a browser has emptied the transfer
  const dropped = [...transfer.items]
    .filter((item) => item.kind === "file")
    .map((item) => ({ place: item.webkitGetAsEntry?.(), file: item.getAsFile() }));
  const found = { images: [], passedOver: 0 };
  for (const { place, file } of dropped) {
    if (place?.isDirectory) await walk(place, found);
    else if (file !== null) found.images.push(asBrought(file));
  }
  return found;
}

/** A folder's images by name, then its sub-folders, as `convscope predict` goes through them. */
async function walk(folder, found) {
  const places = await childrenOf(folder);
  places.sort((one, other) => (one.name < other.name ? -1 : 1));
  for (const place of places.filter((each) => each.isFile)) {
    if (SUFFIX.test(place.name)) {
      const file = await new Promise((resolve, reject) => place.file(resolve, reject)).catch(() => null);
      if (file !== null) found.images.push({ file, path: place.fullPath.replace(/^\//, "") });
    } else {
      found.passedOver += 1;
    }
  }
  for (const place of places.filter((each) => each.isDirectory)) await walk(place, found);
}

async function childrenOf(folder) {
  const reader = folder.createReader();
  const children = [];
  for (;;) {
    // a reader hands out a hundred at a time, and at the end none
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)).catch(() => []);
    if (some.length === 0) return children;
    children.push(...some);
  }
}
