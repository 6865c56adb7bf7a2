// «file» («precision»), in LiteRT.js: npm install @litertjs/core@«litertjs»
«resized»import { loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";

export const LABELS = «labels»;
const [MEAN, STD] = [«mean», «std»]; // «units», by channel
// The inputs of each signature, with their shapes; -1 is an open axis.
const INPUTS = {
«inputs»
};

/** The model; `wasm` is where the folder of that name in @litertjs/core is served. */
export async function load(file = "«file»", wasm = "wasm/") {
  await loadLiteRt(wasm);
  return loadAndCompile(file, { accelerator: "wasm" });
}

/** «pixels» */
export function preprocess(values) {
  const normalized = (x, i) => (x - MEAN[i % MEAN.length]) / STD[i % STD.length];
  return «quantized»;
}

/** Run a signature on arrays by name; its outputs by name. */
export async function run(model, signature, values) {
  const inputs = {};
  for (const [name, shape] of Object.entries(INPUTS[signature])) {
    const fixed = shape.reduce((size, n) => (n < 0 ? size : size * n), 1);
    const sized = shape.map((n) => (n < 0 ? values[name].length / fixed : n));
    inputs[name] = new Tensor(values[name], sized);
  }
  const outputs = await model.run(signature, inputs);
  const found = {};
  for (const [name, tensor] of Object.entries(outputs)) found[name] = tensor.toTypedArray().slice();
  for (const tensor of [...Object.values(inputs), ...Object.values(outputs)]) tensor.delete();
  return found;
}

// «usage»
/** The label with the highest score, and all scores. */
export function read(found) {
  const scores = Array.from(found["«output»"], (x) => «dequantized»);
  return { label: LABELS[scores.indexOf(Math.max(...scores))], scores };
}
