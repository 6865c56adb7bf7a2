// One page, one head: a visitor names classes, gives them pictures, trains the last layers of model.tflite with
// LiteRT.js, tries them, and keeps the weights as a file. What the model takes and gives stands in model.json.
import { film } from "./camera.js";
import { focusName, showCards } from "./cards.js";
import { Classes } from "./classes.js";
import { Head } from "./head.js";
import { $, announced, describePicture, get, inTurn, openModel, say, showScores } from "./page.js";
import { decode, readPixels } from "./pixels.js";
import { stop, train } from "./training.js";
import { readWeights, weightsFile } from "./weights.js";

const THUMB = 64; // pixels

let tried = null; // the record of the picture that was tried last, and its name

/** The model, ready to learn: {about, head, classes}. */
async function load() {
  const model = await openModel(describe);
  const { about } = model;
  const first = await (await get(about.weights)).arrayBuffer();
  const head = new Head(model, readWeights(first, about.weights, about).state);
  // the first runs are slower than those that follow; and a model that can't run fails here
  const features = await head.record(new Float32Array(about.input.shape.reduce((a, b) => a * b)));
  await head.scores([features]);
  await head.step(head.state, Array(about.batch).fill({ features, output: 0 }), about.learning_rate);
  head.recorded = 0;
  const found = { about, head, classes: new Classes(about) };
  if (!about.new_classes) $("status").textContent = "Not trained here yet: the classes are those of the model.";
  show(found);
  for (const room of document.querySelectorAll("fieldset")) room.disabled = false;
  return found;
}

function describe(about) {
  describePicture(about);
  $("rate").value = String(Number(about.learning_rate.toPrecision(6)));
  $("batch").textContent = about.batch;
}

/** Do something with the loaded page; a message that is there goes if it went well. */
function does(action) {
  inTurn(async () => {
    const lesson = await loading;
    try {
      await action(lesson);
    } finally {
      show(lesson); // a name that was refused is the old one again
    }
    say(null);
  });
}

const actions = {
  rename: (item, name) =>
    does(async (lesson) => {
      lesson.classes.rename(item, name);
      await rescore(lesson);
    }),
  remove: (item) =>
    does(async (lesson) => {
      lesson.classes.remove(item);
      changed();
      show(lesson);
      $("add").focus();
      await rescore(lesson);
    }),
  add: (item, files) => does((lesson) => addFiles(lesson, item, files)),
  film: (item) =>
    does(() =>
      film(`Pictures of ${item.name}`, async (frame, name) => {
        const lesson = await loading;
        item.pictures.push(await recorded(lesson, frame, name));
        changed();
        show(lesson);
        return `${item.pictures.length} ${item.pictures.length === 1 ? "picture" : "pictures"} of ${item.name}`;
      }),
    ),
  discard: (item, picture) =>
    does(() => {
      item.pictures.splice(item.pictures.indexOf(picture), 1);
      changed();
    }),
};

function show({ head, classes }) {
  showCards(classes, actions);
  document.body.dataset.recorded = head.recorded; // for whoever drives this page by a program
}

/** Say that the head has not learned of what has just changed. */
function changed() {
  $("changed").hidden = !$("status").dataset.steps;
}

/** Add all files to a class, or none of them. */
async function addFiles(lesson, item, files) {
  const made = [];
  for (const [i, file] of files.entries()) {
    $("now").textContent = `Reading picture ${i + 1} of ${files.length} …`;
    try {
      made.push(await recorded(lesson, await decode(file), file.name));
    } catch (error) {
      $("now").textContent = "";
      throw files.length > 1 ? new Error(`${error.message} None of the ${files.length} pictures was added`) : error;
    }
    await new Promise((resolve) => setTimeout(resolve)); // the browser draws
  }
  item.pictures.push(...made);
  $("now").textContent = "";
  changed();
  $("status").textContent = `${made.length} ${made.length === 1 ? "picture" : "pictures"} added to ${item.name}.`;
}

/** A picture as the head learns from it: what the frozen layers make of it, and how it is shown. */
async function recorded({ about, head }, image, name) {
  const canvas = document.createElement("canvas");
  const features = await head.record(readPixels(image, canvas, about.input.shape, about));
  const thumbnail = document.createElement("canvas");
  thumbnail.width = thumbnail.height = THUMB;
  const drawn = thumbnail.getContext("2d");
  drawn.fillStyle = about.background;
  drawn.fillRect(0, 0, THUMB, THUMB);
  const scale = THUMB / Math.max(image.width, image.height);
  const [width, height] = [image.width * scale, image.height * scale];
  drawn.imageSmoothingQuality = "high";
  drawn.drawImage(image, (THUMB - width) / 2, (THUMB - height) / 2, width, height);
  image.close();
  return { name, features, thumbnail, seen: false };
}

/** Classify a picture and show the result. */
async function tryPicture(lesson, image, name) {
  const { about, head } = lesson;
  const begin = performance.now();
  const features = await head.record(readPixels(image, $("seen"), about.input.shape, about));
  image.close();
  tried = { features, name, milliseconds: performance.now() - begin };
  $("view").hidden = false;
  await rescore(lesson);
}

/** Show what the head says now of the picture that was tried last. */
async function rescore({ about, head, classes }) {
  if (!tried) return;
  const begin = performance.now();
  const [scores] = await head.scores([tried.features]);
  const labels = classes.labels().map((name, i) => name ?? `output ${i + 1}, without a class`);
  const milliseconds = tried.milliseconds + performance.now() - begin;
  showScores(scores, milliseconds, { labels, probabilities: about.probabilities }, { file: tried.name });
}

function tryFile(file) {
  does(async (lesson) => {
    if (!file) throw new Error("That was no file. Save the image first, then drop it or choose it here");
    const image = await decode(file);
    await tryPicture(lesson, image, file.name);
    URL.revokeObjectURL($("image").src);
    $("image").src = URL.createObjectURL(file);
    showTried();
  });
}

function showTried() {
  $("image").hidden = false;
  $("drop").classList.add("filled");
}

/** Say where the weights come from that are there now; what was said of a training is over. */
function forgotten(text) {
  for (const key of Object.keys($("status").dataset)) delete $("status").dataset[key];
  $("changed").hidden = $("chart").hidden = true;
  $("status").textContent = text;
}

async function loadWeights(lesson, file) {
  const { about, head, classes } = lesson;
  const { state, labels } = readWeights(await file.arrayBuffer(), file.name, about);
  if (labels) classes.take(labels);
  head.state = state;
  classes.forget();
  forgotten(
    `The weights of “${file.name}” are loaded` +
      (labels ? ", and the names of its classes." : ". It names no classes: those here stay."),
  );
  await rescore(lesson);
}

function saveWeights({ about, head, classes }) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(weightsFile(head.state, classes.labels(), about));
  link.download = `${about.name.replace(/\.tflite$/, "")}.safetensors`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

const loading = announced(load());

$("add").addEventListener("click", () =>
  does(async (lesson) => {
    const item = lesson.classes.add();
    changed();
    show(lesson);
    focusName(item);
    await rescore(lesson);
  }),
);
$("lesson").addEventListener("submit", (event) => {
  event.preventDefault();
  does(async (lesson) => {
    await train(lesson);
    await rescore(lesson);
  });
});
$("stop").addEventListener("click", stop);
$("file").addEventListener("change", ({ target }) => {
  tryFile(target.files[0]);
  target.value = ""; // so that the same file can be chosen again
});
$("film").addEventListener("click", () =>
  does(() =>
    film("A picture to try", async (frame, name) => {
      const shown = document.createElement("canvas");
      [shown.width, shown.height] = [frame.width, frame.height];
      shown.getContext("2d").drawImage(frame, 0, 0);
      await tryPicture(await loading, frame, name);
      URL.revokeObjectURL($("image").src);
      $("image").src = shown.toDataURL("image/jpeg");
      showTried();
      return $("classes").firstElementChild.innerText.replace("\n", ": ");
    }),
  ),
);
$("save").addEventListener("click", () => does(saveWeights));
$("weights").addEventListener("change", ({ target }) => {
  const [file] = target.files;
  does((lesson) => loadWeights(lesson, file));
  target.value = "";
});
$("reset").addEventListener("click", () =>
  does(async (lesson) => {
    const { head, classes } = lesson;
    head.reset();
    classes.forget();
    forgotten("The weights are those that the page came with. Classes and pictures stay.");
    await rescore(lesson);
  }),
);
// the whole window takes drops, so that one beside a frame does not leave the page
for (const [type, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  window.addEventListener(type, (event) => {
    event.preventDefault();
    const place = event.target.closest?.("#drop, .card");
    for (const node of document.querySelectorAll(".over")) node.classList.remove("over");
    if (over) place?.classList.add("over");
    if (type === "drop" && place === $("drop")) tryFile(event.dataTransfer?.files[0]);
  });
}
