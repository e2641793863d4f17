/** A photo from the camera. If the page has no access: the reason, and the device's camera app instead. */

import { byId, createElement } from "./dom.js";
import { listenForChosen } from "./file_input.js";
import { texts } from "./i18n.js";

const JPEG_QUALITY = 0.95;
const REASONS = { NotAllowedError: "denied", NotFoundError: "missing", OverconstrainedError: "missing" };

let stream = null;
let numPhotos = 0;

/** @param {(images: import("./file_input.js").InputImage[], numSkipped: number) => void} onImages */
export function listenForPhotos(onImages) {
  const dialog = byId("camera");
  byId("open-camera").addEventListener("click", open);
  byId("camera-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", stop);
  byId("shutter").addEventListener("click", async () => {
    const file = await takePhoto(byId("camera-view"));
    dialog.close();
    onImages([{ file, path: file.name }], 0);
  });
  listenForChosen(byId("camera-fallback"), byId("capture"), (images) => {
    dialog.close();
    onImages(images, 0);
  });
}

async function open() {
  show({ isLive: false, text: texts().cameraStarting, hasFallback: false });
  byId("camera").showModal();
  try {
    // a browser has no mediaDevices if the page came over plain http from another machine
    if (!navigator.mediaDevices) throw new DOMException("", "SecurityError");
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    if (!byId("camera").open) {
      stop(); // the dialog was closed while the browser asked for permission
      return;
    }
    byId("camera-view").srcObject = stream;
    await byId("camera-view").play();
    show({ isLive: true, text: "", hasFallback: false });
    byId("shutter").focus();
  } catch (error) {
    const reason = navigator.mediaDevices ? (REASONS[error.name] ?? "busy") : "insecure";
    show({ isLive: false, text: texts().cameraErrors[reason], hasFallback: true });
  }
}

function show({ isLive, text, hasFallback }) {
  byId("camera-view").hidden = !isLive;
  byId("shutter").hidden = !isLive;
  byId("camera-text").textContent = text;
  byId("camera-fallback").hidden = !hasFallback;
}

function stop() {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  byId("camera-view").srcObject = null;
}

async function takePhoto(video) {
  const canvas = createElement("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", JPEG_QUALITY));
  numPhotos += 1;
  return new File([blob], `camera-${numPhotos}.jpg`, { type: "image/jpeg" });
}
