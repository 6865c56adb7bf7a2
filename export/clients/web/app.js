// One page, one model: it runs model.tflite with LiteRT.js on the image that is dropped or chosen, and shows
// the classes with the highest scores. What the model takes and gives stands in model.json.
import { fromOutput, readPixels, toInput } from "./pixels.js";

const SHOWN = 5;
const $ = (id) => document.getElementById(id);

/** The model, ready to run: {about, run(pixels) -> {scores, milliseconds}}. */
async function load() {
  const about = await (await get("model.json")).json();
  describe(about);
  const [file, { loadAndCompile, Tensor }] = await Promise.all([
    get(about.model).then((response) => response.arrayBuffer()),
    start(),
  ]);
  const model = await loadAndCompile(new Uint8Array(file), { accelerator: "wasm" }).catch((error) => {
    throw new Error(`LiteRT.js can't run ${about.model}: ${reason(error)}`);
  });

  async function run(pixels) {
    const input = new Tensor(toInput(pixels, about), about.input.shape);
    const begin = performance.now();
    const outputs = await model.run("serving_default", { [about.input.name]: input });
    const milliseconds = performance.now() - begin;
    const scores = fromOutput(outputs[about.output.name].toTypedArray(), about.output);
    for (const tensor of [input, ...Object.values(outputs)]) tensor.delete();
    return { scores, milliseconds };
  }

  // the first run is slower than those that follow; and a model that can't run fails here
  await run(new Float32Array(about.input.shape.reduce((a, b) => a * b)));
  return { about, run };
}

/** LiteRT.js, started. */
async function start() {
  try {
    const runtime = await import("@litertjs/core");
    await runtime.loadLiteRt("litert/wasm/");
    return runtime;
  } catch (error) {
    console.error(error);
    throw new Error("LiteRT.js does not start: a file in the folder litert is missing, or this browser is too old");
  }
}

async function get(url) {
  const response = await fetch(url).catch(() => null);
  if (!response?.ok) throw new Error(`${url} can't be fetched (${response?.status ?? "no answer"})`);
  return response;
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

async function decode(file) {
  try {
    // upright as EXIF says, and colour profiles left aside, as training images were read
    return await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    throw new Error(`“${file.name}” is not an image that this browser can read. Choose a PNG, JPEG or WebP file.`);
  }
}

function describe({ name, precision, bytes, input, runtime }) {
  const [, height, width, channels] = input.shape;
  $("about").textContent =
    `${name} · ${precision} · ${bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`} · ` +
    `${width} × ${height} ${channels === 1 ? "grey" : "colour"}`;
  $("size").textContent = `${width} × ${height} pixels`;
  $("seen").classList.toggle("small", height < 56);
  $("runtime").textContent = `Runs on ${runtime}.`;
}

function show(file, scores, milliseconds, { labels, probabilities }) {
  const low = Math.min(...scores);
  const span = Math.max(...scores) - low || 1;
  const best = scores.map((_, i) => i).sort((a, b) => scores[b] - scores[a]).slice(0, SHOWN);
  $("classes").replaceChildren(
    ...best.map((i) =>
      row(
        labels ? labels[i] : `class ${i}`,
        probabilities ? `${(100 * scores[i]).toFixed(1)} %` : scores[i].toPrecision(4),
        probabilities ? scores[i] : (scores[i] - low) / span,
      ),
    ),
  );
  $("time").textContent = `Computed in ${Math.max(milliseconds, 0.1).toFixed(1)} ms on this device's CPU.`;
  $("note").hidden = probabilities;
  $("empty").hidden = true;
  $("time").hidden = $("view").hidden = false;

  URL.revokeObjectURL($("image").src);
  $("image").src = URL.createObjectURL(file);
  $("image").hidden = false;
  $("drop").classList.add("filled");
  // for whoever drives this page by a program: all scores, in the order of the output
  Object.assign($("results").dataset, { file: file.name, scores: JSON.stringify(scores), milliseconds });
}

function row(label, text, share) {
  const [item, name, score, bar] = ["li", "span", "span", "div"].map((tag) => document.createElement(tag));
  name.className = "label";
  name.textContent = label;
  score.className = "score";
  score.textContent = text;
  bar.className = "bar";
  bar.style.setProperty("--share", `${100 * Math.min(Math.max(share, 0), 1)}%`);
  item.append(name, score, bar);
  return item;
}

/** Show a message, or none. */
function say(text) {
  $("message").textContent = text ?? "";
  $("message").hidden = text === null;
}

let turn = Promise.resolve();

/** Classify what was chosen or dropped, one file after the other. */
function take(file) {
  turn = turn
    .then(() => {
      if (!file) throw new Error("That was no file. Save the image first, then drop it or choose it here.");
      return classify(file);
    })
    .catch((error) => say(`${reason(error)}.`));
}

/** An error's text without a full stop; the runtime throws more than Errors. */
function reason(error) {
  return String(error?.message ?? error).replace(/\.$/, "");
}

const loading = load().then(
  (model) => {
    document.body.dataset.state = "ready";
    return model;
  },
  (error) => {
    document.body.dataset.state = "failed";
    throw new Error(`The model is not loaded: ${reason(error)}.`);
  },
);
loading.catch((error) => {
  $("about").textContent = "The model is not loaded.";
  say(`${reason(error)}.`);
});

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
