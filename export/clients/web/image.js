// One page, one model: it runs model.tflite with LiteRT.js on the image that is dropped or chosen, and shows
// the classes with the highest scores. What the model takes and gives stands in model.json.
import { $, announced, describePicture, inTurn, openModel, say, showScores } from "./page.js";
import { decode, fromOutput, readPixels, toInput } from "./pixels.js";

/** The model, ready to run: {about, run(pixels) -> {scores, milliseconds}}. */
async function load() {
  const { about, run: runTensors, Tensor } = await openModel(describePicture);

  async function run(pixels) {
    const input = new Tensor(toInput(pixels, about), about.input.shape);
    const { scores, milliseconds } = await runTensors({ [about.input.name]: input });
    return { scores: fromOutput(scores, about.output), milliseconds };
  }

  // the first run is slower than those that follow; and a model that can't run fails here
  await run(new Float32Array(about.input.shape.reduce((a, b) => a * b)));
  return { about, run };
}

/** Classify a file and show the result. */
async function classify(file) {
  const { about, run } = await loading;
  const image = await decode(file);
  const { scores, milliseconds } = await run(readPixels(image, $("seen"), about.input.shape, about));
  image.close();
  say(null);
  show(file, scores, milliseconds, about);
}

function show(file, scores, milliseconds, about) {
  $("view").hidden = false;
  URL.revokeObjectURL($("image").src);
  $("image").src = URL.createObjectURL(file);
  $("image").hidden = false;
  $("drop").classList.add("filled");
  showScores(scores, milliseconds, about, { file: file.name });
}

/** Classify what was chosen or dropped, one file after the other. */
function take(file) {
  inTurn(() => {
    if (!file) throw new Error("That was no file. Save the image first, then drop it or choose it here.");
    return classify(file);
  });
}

const loading = announced(load());

$("file").addEventListener("change", ({ target }) => {
  take(target.files[0]);
  target.value = ""; // so that the same file can be chosen again
});
// the whole window takes drops, so that one beside the frame does not leave the page
for (const [type, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  window.addEventListener(type, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", over);
    if (type === "drop") take(event.dataTransfer?.files[0]);
  });
}
