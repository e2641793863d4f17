/** Small pictures of files, drawn when they come into sight, one after the other: a photo decoded takes 50 MB. */

const SIDE = 44; // CSS pixels, as style.css has it

let queue = Promise.resolve();
const files = new WeakMap();
const watcher = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) {
    if (!isIntersecting) continue;
    watcher.unobserve(target);
    queue = queue.then(() => draw(target, files.get(target))).catch(() => undefined); // a TIFF stays without
  }
});

/** Draw the picture of a file once its canvas is to be seen. */
export function watchThumbnail(canvas, file) {
  files.set(canvas, file);
  watcher.observe(canvas);
}

async function draw(canvas, file) {
  if (!canvas.isConnected) return;
  const side = SIDE * devicePixelRatio;
  const bitmap = await createImageBitmap(file, { resizeHeight: side, resizeQuality: "medium" });
  const shift = (bitmap.width - side) / 2; // its middle, as a square
  canvas.width = side;
  canvas.height = side;
  canvas.getContext("2d").drawImage(bitmap, -shift, 0);
  bitmap.close();
}
