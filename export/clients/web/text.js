// One page, one model: it splits a text into tokens, runs model.tflite with LiteRT.js on their ids, and shows
// the classes with the highest scores. What the model takes and gives, and the vocabulary, stand in model.json.
import { $, announced, inTurn, openModel, say, showScores, titleOf } from "./page.js";
import { tokenizer } from "./wordpiece.js";

const NAMED = 5; // words that are listed as unknown

/** The model, ready to run: {about, tokenize(text), run(encoded) -> {scores, milliseconds}}. */
async function load() {
  const { about, run: runTensors, Tensor } = await openModel(describe);
  const tokenize = tokenizer(about.text);

  async function run(encoded) {
    const inputs = {};
    for (const { name, what, shape } of about.inputs) inputs[name] = new Tensor(encoded[what], shape);
    const { scores, milliseconds } = await runTensors(inputs);
    return { scores: Array.from(scores), milliseconds };
  }

  // the first run is slower than those that follow; and a model that can't run fails here
  await run(tokenize(""));
  return { about, tokenize, run };
}

function describe(about) {
  $("about").textContent = `${titleOf(about)} · ${about.text.sequence_length} tokens`;
  $("runtime").textContent = `Runs on ${about.runtime}.`;
}

/** Classify a text and show the result. */
async function classify(text) {
  const { about, tokenize, run } = await loading;
  const encoded = tokenize(text);
  const { scores, milliseconds } = await run(encoded);
  say(null);
  $("tokens").textContent = encoded.tokens.join(" ");
  $("remarks").replaceChildren(...remarks(encoded).map((remark) => {
    const item = document.createElement("li");
    item.textContent = remark;
    return item;
  }));
  $("view").hidden = false;
  const ids = JSON.stringify(Array.from(encoded.ids));
  showScores(scores, milliseconds, about, { text, ids, unknown: JSON.stringify(encoded.unknown), cut: encoded.cut });
}

/** What a reader of the result has to know about the text. */
function remarks({ tokens, unknown, cut }) {
  const found = [];
  if (!tokens.length) found.push("The text has no words: the scores are those of an empty text.");
  if (cut) found.push(`The text is too long: the last ${cut} of its ${tokens.length + cut} tokens were cut off.`);
  const words = [...new Set(unknown)];
  if (words.length) {
    const named = words.slice(0, NAMED).map((word) => `“${word}”`).join(", ");
    found.push(`The vocabulary does not have ${named}${words.length > NAMED ? ` and ${words.length - NAMED} more` : ""}.`);
  }
  return found;
}

const loading = announced(load());

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value;
  inTurn(() => classify(text));
});
$("text").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("form").requestSubmit();
});
