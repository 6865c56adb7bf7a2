// A file of weights, with the digest of the model that they belong to, and the names of the classes.
import { read, write } from "./safetensors.js";

const LEFT = "The weights here stay as they are";

/** The file that a visitor keeps, and that kerasft.export.load_head reads. */
export function weightsFile(state, labels, about) {
  const arrays = about.state.map(({ name, shape }) => [name, { shape, values: state[name] }]);
  return write(Object.fromEntries(arrays), { digest: about.digest, labels: JSON.stringify(labels), model: about.name });
}

/**
 * What a file holds for this model; throws where it is another's.
 *
 * @param {ArrayBuffer} content
 * @param {string} file its name, for messages
 * @param {object} about model.json
 * @returns {{state: Object<string, Float32Array>, labels: ?(?string)[]}} labels by output: null where it has none
 */
export function readWeights(content, file, about) {
  const { arrays, metadata } = read(content, file);
  const wanted = about.state.filter(({ name, kind }) => kind === "weight" || name in arrays);
  const lacking = about.state.filter(({ name }) => !(name in arrays));
  const known = new Set(about.state.map(({ name }) => name));
  const unknown = Object.keys(arrays).filter((name) => !known.has(name));
  if (unknown.length || lacking.some(({ kind }) => kind === "weight")) {
    throw new Error(
      `“${file}” holds the weights of another model: ${listed(Object.keys(arrays))}. This one has ` +
        `${listed([...known])}. ${LEFT}`,
    );
  }
  if (lacking.length && wanted.some(({ kind }) => kind !== "weight")) {
    throw new Error(`“${file}” lacks ${listed(lacking.map(({ name }) => name))} of the optimizer. ${LEFT}`);
  }
  for (const { name, shape } of wanted) {
    if (String(arrays[name].shape) !== String(shape)) {
      throw new Error(
        `“${file}” has “${name}” of the shape (${arrays[name].shape.join(", ")}), this model (${shape.join(", ")}): ` +
          `the weights are those of another one, perhaps with another number of classes. ${LEFT}`,
      );
    }
  }
  if (metadata.digest !== about.digest) {
    throw new Error(
      `“${file}” holds the weights of another model: its digest is ${short(metadata.digest)}, this model's is ` +
        `${short(about.digest)}. ${LEFT}`,
    );
  }
  const broken = wanted.find(({ name }) => !arrays[name].values.every(Number.isFinite));
  if (broken) throw new Error(`“${file}” holds values in “${broken.name}” that are not finite. ${LEFT}`);
  const state = about.state.map(({ name, shape }) => [
    name,
    arrays[name]?.values ?? new Float32Array(shape.reduce((a, b) => a * b, 1)), // slots begin with zeros
  ]);
  return { state: Object.fromEntries(state), labels: labelsOf(metadata, file, about.classes) };
}

function labelsOf({ labels }, file, classes) {
  if (labels === undefined) return null;
  let found;
  try {
    found = JSON.parse(labels);
  } catch {
    found = null;
  }
  const names = Array.isArray(found) ? found.filter((name) => name !== null) : [];
  const sound = names.every((name) => typeof name === "string" && name === name.trim() && name !== "");
  if (found?.length !== classes || !sound || new Set(names).size !== names.length) {
    throw new Error(`“${file}” has labels that are no names of ${classes} classes. ${LEFT}`);
  }
  return found;
}

function listed(names) {
  return names.length ? names.map((name) => `“${name}”`).join(", ") : "nothing";
}

function short(digest) {
  return digest ? `${digest.slice(0, 12)}…` : "missing";
}
