// A training, from the numbers in the form to what is said of its end.
import { $ } from "./page.js";

const POINTS = 200; // of the curve

let stopped = false;

/** Train on the pictures that are there; says how it goes, and how it went. */
export async function train({ head, classes }) {
  const [rate, steps] = [positive("rate", "learning rate", "0.01"), positive("steps", "number of steps", "100")];
  if (!Number.isInteger(steps)) throw new Error("The number of steps has to be a whole one, such as 100");
  classes.check();
  const { training, held } = classes.divided();
  const begin = performance.now();
  stopped = false;
  busy(true);
  try {
    let told = 0;
    const losses = await head.train(training, {
      rate,
      steps,
      stopped: () => stopped,
      progress: (found) => {
        $("taken").value = found.length / steps;
        $("now").textContent = `Step ${found.length} of ${steps}, loss ${recent(found).toPrecision(3)}`;
        if (found.length >= told) {
          $("status").textContent = $("now").textContent; // which is read aloud, but not at each step
          told = found.length + steps / 4;
        }
        draw(found);
      },
    });
    for (const { picture } of training) picture.seen = true;
    const seconds = (performance.now() - begin) / 1000;
    const scores = await head.scores(held.map(({ features }) => features));
    const right = held.filter(({ output }, i) => scores[i].indexOf(Math.max(...scores[i])) === output).length;
    const taken = losses.length < steps ? `Stopped after ${losses.length} of ${steps} steps` : `Took ${steps} steps`;
    $("status").textContent =
      `${taken} on ${training.length} pictures in ${seconds.toFixed(1)} s: loss ${recent(losses).toPrecision(3)}. ` +
      (held.length
        ? `Of ${held.length} pictures held back, ${right} ${right === 1 ? "is" : "are"} right ` +
          `(${Math.round((100 * right) / held.length)} %).`
        : "No picture was held back for a test: that needs five new ones in each class.");
    Object.assign($("status").dataset, { steps: losses.length, loss: recent(losses), held: held.length, right });
    $("changed").hidden = true;
  } catch (error) {
    $("status").textContent = "The weights are those from before this training.";
    $("chart").hidden = true;
    throw error;
  } finally {
    busy(false);
  }
}

/** End the training after the step that is running. */
export function stop() {
  stopped = true;
}

/** A number above 0 of a field; throws where there is another text. */
function positive(id, what, example) {
  const text = $(id).value.trim();
  const value = text === "" ? NaN : Number(text);
  if (!(Math.fround(value) > 0 && Math.fround(value) < Infinity)) {
    $(id).focus();
    throw new Error(`The ${what} is “${text}”. It has to be a number above 0, such as ${example}`);
  }
  return value;
}

/** While the head is trained there is one button, which stops it. */
function busy(on) {
  const buttons = [$("train"), $("stop")];
  const moved = buttons.includes(document.activeElement);
  for (const room of document.querySelectorAll("fieldset")) room.disabled = on;
  $("bar").hidden = !on;
  $("taken").value = 0;
  $("now").textContent = "";
  if (moved) buttons[Number(on)].focus();
}

/** The mean loss of the last ten steps. */
function recent(losses) {
  const last = losses.slice(-10);
  return last.reduce((a, b) => a + b, 0) / last.length;
}

function draw(losses) {
  const every = Math.ceil(losses.length / POINTS);
  const shown = losses.filter((_, i) => i % every === 0 || i === losses.length - 1);
  const top = Math.max(...shown, 1e-9);
  const points = shown.map((loss, i) => `${(100 * i) / Math.max(1, shown.length - 1)},${39 - (38 * loss) / top}`);
  $("chart").hidden = false;
  $("curve").setAttribute("points", points.join(" "));
  $("curve").parentElement.setAttribute(
    "aria-label", `The loss of the steps, from ${losses[0].toPrecision(3)} to ${losses.at(-1).toPrecision(3)}`,
  );
}
