// What all pages share: the model in LiteRT.js, messages, and the list of classes.

const SHOWN = 5;
export const $ = (id) => document.getElementById(id);

/**
 * The model, ready to run: {about, call(signature, inputs) -> outputs, run(inputs) -> {scores, milliseconds}, Tensor};
 * inputs are Tensors by name, which are deleted; outputs are typed arrays by name.
 */
export async function openModel(describe) {
  const about = await (await get("model.json")).json();
  describe(about);
  const [file, { loadAndCompile, Tensor }] = await Promise.all([
    get(about.model).then((response) => response.arrayBuffer()),
    start(),
  ]);
  const model = await loadAndCompile(new Uint8Array(file), { accelerator: "wasm" }).catch((error) => {
    throw new Error(`LiteRT.js can't run ${about.model}: ${reason(error)}`);
  });

  async function call(signature, inputs) {
    const tensors = Object.values(inputs);
    try {
      const outputs = await model.run(signature, inputs);
      tensors.push(...Object.values(outputs));
      return Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, tensor.toTypedArray()]));
    } finally {
      for (const tensor of tensors) tensor.delete();
    }
  }

  async function run(inputs) {
    const begin = performance.now();
    const outputs = await call("serving_default", inputs);
    return { scores: outputs[about.output.name], milliseconds: performance.now() - begin };
  }

  return { about, call, run, Tensor };
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

/** What a server has at an address. */
export async function get(url) {
  const response = await fetch(url).catch(() => null);
  if (!response?.ok) throw new Error(`${url} can't be fetched (${response?.status ?? "no answer"})`);
  return response;
}

/** What stands under the title: "model.tflite · int8 · 34 kB". */
export function titleOf({ name, precision, bytes }) {
  return `${name} · ${precision} · ${bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`}`;
}

/** Say which pictures the model takes, and how large they are. */
export function describePicture(about) {
  const [, height, width, channels] = about.input.shape;
  $("about").textContent = `${titleOf(about)} · ${width} × ${height} ${channels === 1 ? "grey" : "colour"}`;
  $("size").textContent = `${width} × ${height} pixels`;
  $("seen").classList.toggle("small", height < 56);
  $("runtime").textContent = `Runs on ${about.runtime}.`;
}

/** Show the classes with the highest scores; data is for whoever drives this page by a program. */
export function showScores(scores, milliseconds, { labels, probabilities }, data) {
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
  $("time").hidden = false;
  Object.assign($("results").dataset, { ...data, scores: JSON.stringify(scores), milliseconds });
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
export function say(text) {
  $("message").textContent = text ?? "";
  $("message").hidden = text === null;
}

let turn = Promise.resolve();

/** Do one thing after the other; what goes wrong is shown. */
export function inTurn(action) {
  turn = turn.then(action).catch((error) => say(`${reason(error)}.`));
}

/** An error's text without a full stop; the runtime throws more than Errors. */
function reason(error) {
  return String(error?.message ?? error).replace(/\.$/, "");
}

/** The model while it is loaded; the page says how that went. */
export function announced(loading) {
  const told = loading.then(
    (model) => {
      document.body.dataset.state = "ready";
      return model;
    },
    (error) => {
      document.body.dataset.state = "failed";
      throw new Error(`The model is not loaded: ${reason(error)}.`);
    },
  );
  told.catch((error) => {
    $("about").textContent = "The model is not loaded.";
    say(`${reason(error)}.`);
  });
  return told;
}
