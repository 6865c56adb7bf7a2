// Frames of the webcam, in a dialog that a visitor opens and closes.
import { $, inTurn } from "./page.js";

const REASONS = {
  NotAllowedError: "The webcam was refused. Allow it in the browser's settings of this page, or choose files",
  NotFoundError: "There is no webcam on this device. Choose files instead",
  NotReadableError: "The webcam can't be read: another program may have it. Close that, or choose files",
};

/**
 * Open the webcam; each press of the button hands on a frame.
 *
 * @param {string} title what the frames are for
 * @param {(frame: ImageBitmap, name: string) => Promise<string>} take gives what to say of it
 */
export async function film(title, take) {
  const stream = await opened();
  const [video, dialog] = [$("video"), $("camera")];
  const close = () => {
    for (const track of stream.getTracks()) track.stop();
    video.srcObject = null;
  };
  video.srcObject = stream;
  try {
    await video.play();
  } catch (error) {
    close();
    throw new Error(`The webcam gives no pictures: ${error.message}. Choose files instead`);
  }
  $("camera-title").textContent = title;
  $("shot").textContent = "";
  let number = 0;
  $("shoot").onclick = () =>
    inTurn(async () => {
      try {
        const frame = await createImageBitmap(video, { colorSpaceConversion: "none" });
        $("shot").textContent = await take(frame, `webcam ${(number += 1)}`);
      } catch (error) {
        dialog.close(); // the message is below it
        throw error;
      }
    });
  dialog.onclose = close;
  $("done").onclick = () => dialog.close();
  dialog.showModal();
}

async function opened() {
  if (!navigator.mediaDevices) {
    throw new Error("A browser gives the webcam to pages of https:// and of localhost alone. Choose files instead");
  }
  try {
    return await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    throw new Error(REASONS[error.name] ?? `The webcam does not start: ${error.message}. Choose files instead`);
  }
}
