/** A picture from the camera; where a page may not have it, why, and the device's own way to take one. */

import { receiveChosen } from "./bring.js";
import { find, make } from "./elements.js";
import { words } from "./words.js";

const QUALITY = 0.95; // of the JPEG file
const REASONS = { NotAllowedError: "denied", NotFoundError: "missing", OverconstrainedError: "missing" };

let stream = null;
let shots = 0;

/** @param {(images: {file: File, path: string}[], passedOver: number) => void} onImages */
export function receivePhotos(onImages) {
  const dialog = find("camera");
  find("open-camera").addEventListener("click", open);
  find("camera-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", stop);
  find("shutter").addEventListener("click", async () => {
    const file = await takePicture(find("camera-view"));
    dialog.close();
    onImages([{ file, path: file.name }], 0);
  });
  receiveChosen(find("camera-instead"), find("capture"), (images) => {
    dialog.close();
    onImages(images, 0);
  });
}

async function open() {
  show({ isLive: false, text: words().cameraStarting, hasInstead: false });
  find("camera").showModal();
  try {
    // a browser has no mediaDevices at all where the page came over plain http from another machine
    if (!navigator.mediaDevices) throw new DOMException("", "SecurityError");
    const opened = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    stream = opened;
    if (!find("camera").open) {
      stop(); // it was closed while the browser asked
      return;
    }
    find("camera-view").srcObject = stream;
    await find("camera-view").play();
    show({ isLive: true, text: "", hasInstead: false });
    find("shutter").focus();
  } catch (error) {
    const reason = navigator.mediaDevices ? (REASONS[error.name] ?? "busy") : "insecure";
    show({ isLive: false, text: words().cameraReasons[reason], hasInstead: true });
  }
}

function show({ isLive, text, hasInstead }) {
  find("camera-view").hidden = !isLive;
  find("shutter").hidden = !isLive;
  find("camera-words").textContent = text;
  find("camera-instead").hidden = !hasInstead;
}

function stop() {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  find("camera-view").srcObject = null;
}

async function takePicture(video) {
  const canvas = make("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
  shots += 1;
  return new File([blob], `camera-${shots}.jpg`, { type: "image/jpeg" });
}
