/** Images from the file dialog, from dropped files and folders, and from the clipboard; all are passed to `onImages`. */

import { byId } from "./dom.js";

const SUFFIX = /\.(?:jpe?g|png|webp|bmp|gif|tiff?)$/i; // as in images/image_reader.py

/**
 * @typedef {{file: File, path: string}} InputImage
 * @param {(images: InputImage[], numSkipped: number) => void} onImages - `numSkipped`: files of dropped folders
 */
export function listenForImages(onImages) {
  listenForChosen(byId("choose"), byId("files"), onImages);
  listenForDropped(onImages);
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return; // text, perhaps for a field
    event.preventDefault();
    onImages(files.map(toInputImage), 0);
  });
}

/** Let a button open a file input, and pass on the files that are chosen. */
export function listenForChosen(button, input, onImages) {
  button.addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    const images = [...input.files].map(toInputImage);
    input.value = ""; // so that choosing the same file again is a change
    if (images.length > 0) onImages(images, 0);
  });
}

function toInputImage(file) {
  return { file, path: file.name };
}

/** The entire window accepts drops: a browser would open a file that misses the drop zone. */
function listenForDropped(onImages) {
  const setDragging = (isDragging) => document.body.classList.toggle("dragging", isDragging);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    setDragging(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) setDragging(false); // it left the window
  });
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    setDragging(false);
    const { images, numSkipped } = await readTransfer(event.dataTransfer);
    onImages(images, numSkipped);
  });
}

async function readTransfer(transfer) {
  // read before the first await: after it a browser has emptied the transfer
  const dropped = [...transfer.items]
    .filter((item) => item.kind === "file")
    .map((item) => ({ entry: item.webkitGetAsEntry?.(), file: item.getAsFile() }));
  const result = { images: [], numSkipped: 0 };
  for (const { entry, file } of dropped) {
    if (entry?.isDirectory) await readFolder(entry, result);
    else if (file !== null) result.images.push(toInputImage(file));
  }
  return result;
}

/** Add a folder's images by name, then those of its sub-folders, in the order of `convscope predict`. */
async function readFolder(folder, result) {
  const children = await listFolder(folder);
  children.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const child of children.filter(({ isFile }) => isFile)) {
    if (SUFFIX.test(child.name)) {
      const file = await new Promise((resolve, reject) => child.file(resolve, reject)).catch(() => null);
      if (file !== null) result.images.push({ file, path: child.fullPath.replace(/^\//, "") });
    } else {
      result.numSkipped += 1;
    }
  }
  for (const child of children.filter(({ isDirectory }) => isDirectory)) await readFolder(child, result);
}

async function listFolder(folder) {
  const reader = folder.createReader();
  const children = [];
  for (;;) {
    // a reader returns at most a hundred entries at a time, and none at the end
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)).catch(() => []);
    if (entries.length === 0) return children;
    children.push(...entries);
  }
}
