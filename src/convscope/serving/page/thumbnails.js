/** Thumbnails of files, drawn one after the other when they scroll into view: a decoded photo takes 50 MB. */

const SIZE = 44; // CSS pixels, as in style.css

let queue = Promise.resolve();
const files = new WeakMap();
const observer = new IntersectionObserver((observed) => {
  for (const { target, isIntersecting } of observed) {
    if (!isIntersecting) continue;
    observer.unobserve(target);
    queue = queue.then(() => draw(target, files.get(target))).catch(() => undefined); // browsers read no TIFF
  }
});

/** Draw the thumbnail of a file on a canvas once it is in view. */
export function watchThumbnail(canvas, file) {
  files.set(canvas, file);
  observer.observe(canvas);
}

async function draw(canvas, file) {
  if (!canvas.isConnected) return;
  const size = SIZE * devicePixelRatio;
  const bitmap = await createImageBitmap(file, { resizeHeight: size, resizeQuality: "medium" });
  const offset = (bitmap.width - size) / 2; // of the central square
  canvas.width = size;
  canvas.height = size;
  canvas.getContext("2d").drawImage(bitmap, -offset, 0);
  bitmap.close();
}
