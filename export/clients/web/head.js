// The part of the model that learns: its weights and the slots of its optimizer are held here, as arrays by name,
// and go through the file's signatures `features`, `train` and `scores`, which keep nothing.
import { drawing } from "./batches.js";
import { toInput } from "./pixels.js";

const BREATH = 30; // milliseconds of work after which the browser may draw

export class Head {
  #about;
  #call;
  #Tensor;
  #first;

  /**
   * @param {{about: object, call: function, Tensor: function}} model what openModel gives
   * @param {Object<string, Float32Array>} first weights and slots to begin with
   */
  constructor({ about, call, Tensor }, first) {
    this.#about = about;
    this.#call = call;
    this.#Tensor = Tensor;
    this.#first = first;
    this.state = first;
    this.recorded = 0; // pictures that went through `features`
  }

  /** Forget what was learned. */
  reset() {
    this.state = this.#first;
  }

  /** What the frozen layers make of the pixels of a picture. */
  async record(pixels) {
    const { input } = this.#about;
    const { features } = await this.#call("features", {
      [input.name]: new this.#Tensor(toInput(pixels, this.#about), input.shape),
    });
    this.recorded += 1;
    return features;
  }

  /**
   * The scores of recorded pictures.
   *
   * @param {Float32Array[]} records
   * @returns {Promise<number[][]>} for each a score of each class
   */
  async scores(records, state = this.state) {
    const { batch, classes } = this.#about;
    const found = [];
    for (let at = 0; at < records.length; at += batch) {
      const part = records.slice(at, at + batch);
      const { scores } = await this.#call("scores", {
        features: this.#stacked(Array.from({ length: batch }, (_, i) => part[i % part.length])),
        ...this.#tensors(state, ({ kind }) => kind === "weight"),
      });
      part.forEach((_, i) => found.push(Array.from(scores.subarray(i * classes, (i + 1) * classes))));
    }
    return found;
  }

  /**
   * Take steps on mini-batches; the new weights are held only if all went well.
   *
   * @param {{features: Float32Array, output: number}[]} examples
   * @param {{rate: number, steps: number, stopped: () => boolean, progress: (losses: number[]) => void}} how
   * @returns {Promise<number[]>} the loss before each step
   */
  async train(examples, { rate, steps, stopped, progress }) {
    const draw = drawing(examples);
    const losses = [];
    let state = this.state;
    let begin = performance.now();
    while (losses.length < steps && !stopped()) {
      const made = await this.step(state, Array.from({ length: this.#about.batch }, draw), rate);
      losses.push(made.loss);
      if (!Number.isFinite(made.loss)) throw runaway(losses.length);
      state = made.state;
      if (performance.now() - begin > BREATH) {
        progress(losses);
        await new Promise((resolve) => setTimeout(resolve));
        begin = performance.now();
      }
    }
    if (!Object.values(state).every((values) => values.every(Number.isFinite))) throw runaway(losses.length);
    this.state = state;
    progress(losses);
    return losses;
  }

  /** Weights and slots after one step on a batch, and the loss before it. */
  async step(state, examples, rate) {
    const { batch, classes } = this.#about;
    const target = new Float32Array(batch * classes);
    examples.forEach(({ output }, i) => (target[i * classes + output] = 1));
    const { loss, ...made } = await this.#call("train", {
      features: this.#stacked(examples.map(({ features }) => features)),
      target: new this.#Tensor(target, [batch, classes]),
      learning_rate: new this.#Tensor(Float32Array.of(rate), [1]),
      ...this.#tensors(state, () => true),
    });
    return { state: made, loss: loss[0] };
  }

  #stacked(records) {
    const size = records[0].length;
    const values = new Float32Array(records.length * size);
    records.forEach((record, i) => values.set(record, i * size));
    return new this.#Tensor(values, [records.length, ...this.#about.features]);
  }

  #tensors(state, chosen) {
    const entries = this.#about.state.filter(chosen);
    return Object.fromEntries(entries.map(({ name, shape }) => [name, new this.#Tensor(state[name], shape)]));
  }
}

function runaway(step) {
  return new Error(
    `The training ran away: after ${step} ${step === 1 ? "step" : "steps"} the loss or a weight is no number any ` +
      "more. Choose a smaller learning rate. The weights here are those from before",
  );
}
