"""The default recipe against other ways to fine-tune on little data: accuracy, and time.

    python benchmarks/recipes.py [--data stamps,…] [--ways default,…] [--out FILE]

Four sets of data: Tux Paint's photo stamps (Debian's `tuxpaint-stamps-default`; its folders with 30 pictures
or more, symbols left out; five folds), 50 images a class of Fashion-MNIST, 30 a class of scikit-learn's
digits (EfficientNet-Lite0, 96 pixels, 12 epochs), and 500 snippets of movie reviews (all-MiniLM-L6-v2, 32
tokens, 4 epochs), three draws each. Every way trains on the same samples for the same epochs. What was
measured is kept in FILE, a row for each way and draw: an interrupted run goes on.

Rivals get the best of their rates by the mean accuracy on the very test samples; the default recipe has one.
Seconds are those of the processor, all cores added, from the built model to the trained one.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from kerasft.examples import efficientnet_lite0, minilm, movie_reviews
from PIL import Image

import kerasft
from kerasft.data.fashion_mnist import DEBIAN_FOLDER, read_idx
from kerasft.probe import solve_head
from kerasft.recipes import default
from kerasft.text import TextRule

STAMPS = Path("/usr/share/tuxpaint/stamps")
SIZE, LENGTH, BATCH = 96, 32, 32
LOSS = "sparse_categorical_crossentropy"
RATES = (3e-5, 1e-4, 3e-4)
RESULTS = Path(__file__).with_name("recipes.json")
Samples = tuple[Any, np.ndarray]


@dataclass(frozen=True)
class Task:
    """Data and a backbone.

    Attributes:
        draws: How many folds or seeds there are.
        epochs: Of every way.
        split: Training and test samples of a draw.
        build: A classifier of so many classes, and its backbone; whether the backbone is called as many
            people do, with `training=False`.
    """

    draws: int
    epochs: int
    split: Callable[[int], tuple[Samples, Samples]]
    build: Callable[[int, bool], tuple[keras.Model, keras.Model]]


def square(picture: Image.Image) -> np.ndarray:
    """A picture on white, in the middle of a square."""
    picture = picture.convert("RGBA")
    side = max(picture.size)
    canvas = Image.new("RGBA", (side, side), "white")
    canvas.alpha_composite(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return np.asarray(canvas.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC), "float32")


@functools.cache
def stamps() -> Samples:
    """All pictures and the number of their folder."""
    folders = [folder for folder in sorted(STAMPS.iterdir()) if folder.is_dir() and folder.name != "symbols"]
    found = [files for folder in folders if len(files := sorted(folder.rglob("*.png"))) >= 30]
    pictures = [square(Image.open(file)) for files in found for file in files]
    return np.stack(pictures), np.repeat(np.arange(len(found)), [len(files) for files in found])


def stamps_split(draw: int) -> tuple[Samples, Samples]:
    """Every fifth picture of each class, in an order drawn once, is tested."""
    x, y = stamps()
    order = np.random.default_rng(0).permutation(len(y))
    fold = np.empty(len(y), int)
    fold[order[np.argsort(y[order], kind="stable")]] = np.arange(len(y)) % 5
    return (x[fold != draw], y[fold != draw]), (x[fold == draw], y[fold == draw])


def drawn(x: np.ndarray, y: np.ndarray, each: int, draw: int) -> np.ndarray:
    """The places of so many samples of each class."""
    rng = np.random.default_rng(draw)
    return np.concatenate([rng.permutation(np.flatnonzero(y == label))[:each] for label in np.unique(y)])


def pictures(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> Samples:
    """Grey images as pictures, and their classes."""
    return np.stack([square(Image.fromarray(x[i])) for i in at]), y[at].astype("int64")


def fashion_split(draw: int) -> tuple[Samples, Samples]:
    """50 training images a class; the same 1,500 of the test set for all draws."""
    train, test = (
        tuple(read_idx(DEBIAN_FOLDER / f"{part}-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
        for part in ("train", "t10k")
    )
    held = np.random.default_rng(0).permutation(len(test[1]))[:1500]
    return pictures(*train, drawn(*train, 50, draw)), pictures(*test, held)


def digits_split(draw: int) -> tuple[Samples, Samples]:
    """30 training images a class, and 1,000 others."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y = np.rint(digits.images * (255 / 16)).astype("uint8"), digits.target
    at = drawn(x, y, 30, draw)
    held = np.random.default_rng(draw).permutation(np.setdiff1d(np.arange(len(y)), at))[:1000]
    return pictures(x, y, at), pictures(x, y, held)


@functools.cache
def snippets() -> Samples:
    """All snippets as token ids, and whether they praise."""
    import tempfile

    rows = movie_reviews.read_snippets()
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = TextRule.of(minilm.write_vocabulary(Path(folder) / "vocab.txt"), LENGTH).tokenizer()
    ids = [np.asarray(column) for column in tokenizer(tf.constant([text for text, _ in rows]))]
    names = sorted({label for _, label in rows})
    y = np.array([names.index(label) for _, label in rows])
    return dict(zip(("input_word_ids", "input_mask", "input_type_ids"), ids, strict=True)), y


def snippets_split(draw: int) -> tuple[Samples, Samples]:
    """500 snippets to train on, and 1,000 others."""
    x, y = snippets()
    order = np.random.default_rng(draw).permutation(len(y))
    first, second = (({n: v[at] for n, v in x.items()}, y[at]) for at in (order[:500], order[500:1500]))
    return first, second


def picture_model(classes: int, as_written: bool) -> tuple[keras.Model, keras.Model]:
    """EfficientNet-Lite0 and a head."""
    backbone = efficientnet_lite0.build_efficientnet_lite0(classes=None, input_shape=(SIZE, SIZE, 3))
    x = inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 128, -127 / 128)(x)
    x = backbone(x, training=False) if as_written else backbone(x)
    x = keras.layers.Dropout(0.2)(x)
    return keras.Model(inputs, keras.layers.Dense(classes, "softmax", name="scores")(x)), backbone


def text_model(classes: int, as_written: bool) -> tuple[keras.Model, keras.Model]:
    """MiniLM, the mean over its tokens, and a head."""
    backbone = minilm.build_minilm(length=LENGTH)
    inputs = {
        name: keras.Input((LENGTH,), dtype="int32", name=name)
        for name in ("input_word_ids", "input_mask", "input_type_ids")
    }
    x = backbone(inputs, training=False) if as_written else backbone(inputs)
    x = x["sequence_output"] if isinstance(x, dict) else x
    x = keras.layers.GlobalAveragePooling1D()(x, mask=inputs["input_mask"])
    x = keras.layers.Dropout(0.1)(x)
    return keras.Model(inputs, keras.layers.Dense(classes, "softmax", name="scores")(x)), backbone


TASKS = {
    "stamps": Task(5, 12, stamps_split, picture_model),
    "fashion": Task(3, 12, fashion_split, picture_model),
    "digits": Task(3, 12, digits_split, picture_model),
    "snippets": Task(3, 4, snippets_split, text_model),
}


@dataclass
class Run:
    """What a way is given: a new model, and the samples to train on, in a new order in each pass.

    `probe` are the weights with the solved head, where a way keeps them.
    """

    model: keras.Model
    backbone: keras.Model
    data: tf.data.Dataset
    epochs: int
    draw: int
    probe: list[np.ndarray] | None = None

    def fit(self, optimizer: Any, epochs: int | None = None, **arguments: Any) -> None:
        """Train as plain Keras does."""
        self.model.compile(optimizer, LOSS)
        self.model.fit(self.data, epochs=epochs or self.epochs, shuffle=False, verbose=0, **arguments)


def probe(run: Run) -> None:
    """The head alone, solved: logistic regression, its penalty by cross-validation."""
    solve_head(run.model, run.data, seed=run.draw)


def written(run: Run) -> None:
    """Keras's guide to transfer learning: the head at 1e-3, then everything at 1e-5."""
    run.backbone.trainable = False
    run.fit(keras.optimizers.Adam(1e-3), run.epochs // 2)
    run.backbone.trainable = True
    run.fit(keras.optimizers.Adam(1e-5), run.epochs - run.epochs // 2)


def right(run: Run, rate: float) -> None:
    """AdamW on everything, BatchNormalization frozen."""
    for layer in run.backbone._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    run.fit(keras.optimizers.AdamW(rate))


def gradual(run: Run) -> None:
    """ULMFiT: one stage after the other from the head down, each at 1 / 2.6 of the rate above it."""
    optimizer = kerasft.with_lr_multipliers(keras.optimizers.AdamW(1e-3), kerasft.discriminative(run.model))
    run.fit(optimizer, callbacks=[kerasft.GradualUnfreezing(batch_norm="inference", dropout="inference")])


def probe_then_all(run: Run, rate: float) -> None:
    """LP-FT: the solved head, then everything at one rate."""
    solve_head(run.model, run.data, seed=run.draw)
    right(run, rate)


def lora(run: Run) -> None:
    """Matrices of rank 8 beside those of the encoder, and the head, at 1e-3."""
    for layer in run.backbone._flatten_layers():
        if isinstance(layer, keras.layers.Dense | keras.layers.EinsumDense):
            layer.enable_lora(8)
        elif not list(layer._flatten_layers(include_self=False)):
            layer.trainable = False
    run.fit(keras.optimizers.AdamW(1e-3))


def recipe(run: Run, **arguments: Any) -> None:
    """`kerasft.recipes.default`."""
    found = default(run.model, run.data, epochs=run.epochs, seed=run.draw, **arguments)
    run.probe = run.model.get_weights()
    run.model.compile(found.optimizer, found.loss)
    run.model.fit(found.train, epochs=found.epochs, callbacks=found.callbacks, shuffle=False, verbose=0)


def best_of(name: str, way: Callable[..., None]) -> dict[str, Callable[[Run], None]]:
    """A way at each rate."""
    return {f"{name} {rate:g}": functools.partial(way, rate=rate) for rate in RATES}


WAYS: dict[str, Callable[[Run], None]] = {
    "probe": probe,
    "default": recipe,
    "right 0.0001": functools.partial(right, rate=1e-4),
    "right 0.0003": functools.partial(right, rate=3e-4),
    "right 3e-05": functools.partial(right, rate=3e-5),
    "written": written,
    "LP-FT 0.0001": functools.partial(probe_then_all, rate=1e-4),
    "ULMFiT": gradual,
    "LoRA": lora,
    "without views": functools.partial(recipe, views=[]),
    "one rate": functools.partial(recipe, layer_decay=1.0),
    "all stages": functools.partial(recipe, depth=0),
}


def measured(task: str, draw: int, way: str) -> dict[str, Any]:
    """Train once, and test."""
    (x, y), (held, wanted) = TASKS[task].split(draw)
    keras.backend.clear_session()
    gc.collect()
    keras.utils.set_random_seed(draw)
    model, backbone = TASKS[task].build(int(y.max()) + 1, way == "written")
    data = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(y), seed=draw).batch(BATCH)
    begin = time.perf_counter(), time.process_time()
    run = Run(model, backbone, data, TASKS[task].epochs, draw)
    WAYS[way](run)
    wall, processor = time.perf_counter() - begin[0], time.process_time() - begin[1]
    seconds = {"wall": round(wall, 1), "processor": round(processor, 1)}
    found = {**tested(model, held, wanted), **seconds}
    if run.probe is not None:
        for share in (0.25, 0.5, 0.75):
            tuned = kerasft.interpolate(model, run.probe, share)
            found[f"interpolated {share}"] = tested(model, held, wanted)["accuracy"]
            model.set_weights(tuned)
    return found


def tested(model: keras.Model, x: Any, y: np.ndarray) -> dict[str, float]:
    """Accuracy and mean loss on test samples."""
    scores = model.predict(x, batch_size=64, verbose=0)
    likelihood = np.maximum(scores[np.arange(len(y)), y], 1e-9)
    return {"accuracy": float((scores.argmax(1) == y).mean()), "loss": float(-np.log(likelihood).mean())}


def of_way(rows: dict[str, dict[str, Any]], task: str, way: str, value: str) -> dict[int, float]:
    """A measured value of each draw of a way."""
    found = {int(key.split(" ", 2)[1]): row for key, row in rows.items() if key.startswith(f"{task} ")}
    keys = {draw: f"{task} {draw} {way}" for draw in found}
    return {draw: rows[key][value] for draw, key in keys.items() if key in rows}


def difference(one: dict[int, float], other: dict[int, float]) -> tuple[float, float] | None:
    """The mean paired difference in points and its standard error, over the draws that both have."""
    both = [100 * (one[draw] - other[draw]) for draw in sorted(one.keys() & other.keys())]
    if len(both) < 2:
        return None
    return float(np.mean(both)), float(np.std(both, ddof=1) / np.sqrt(len(both)))


def best_rate(rows: dict[str, dict[str, Any]], task: str) -> str | None:
    """The way of plain Keras done right whose mean accuracy is the highest."""
    means = {
        way: np.mean(list(found.values()))
        for way in WAYS
        if way.startswith("right ") and (found := of_way(rows, task, way, "accuracy"))
    }
    return max(means, key=lambda way: means[way], default=None)


def table(rows: dict[str, dict[str, Any]]) -> str:
    """All that is there, in Markdown."""
    lines = []
    for task in TASKS:
        best = best_rate(rows, task)
        probes = of_way(rows, task, "probe", "accuracy")
        rights = of_way(rows, task, best, "accuracy") if best else {}
        seconds = of_way(rows, task, best, "processor") if best else {}
        lines += [
            "",
            f"**{task}**",
            "",
            "| way | draws | accuracy | above the probe | above plain Keras done right | time |",
            "|---|---|---|---|---|---|",
        ]
        for way in WAYS:
            found = of_way(rows, task, way, "accuracy")
            if not found:
                continue
            taken = of_way(rows, task, way, "processor")
            shared = taken.keys() & seconds.keys()
            times = np.mean([taken[d] / seconds[d] for d in shared]) if shared else float("nan")
            cells = [
                f"{mean:+.1f} ± {error:.1f}" if gap else ""
                for gap in (difference(found, probes), difference(found, rights))
                for mean, error in [gap or (0, 0)]
            ]
            mark = " (best rate)" if way == best else ""
            lines.append(
                f"| {way}{mark} | {len(found)} | {np.mean(list(found.values())):.3f} | "
                f"{' | '.join(cells)} | {times:.2f} |"
            )
    return "\n".join(lines)


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The rows so far."""
    return json.loads(path.read_text()) if path.exists() else {}


def main() -> None:
    """Measure what is not in the file yet, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default=",".join(TASKS))
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--draws", type=int, default=5, help="at most that many folds or seeds")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    for draw in range(options.draws):
        for way in options.ways.split(","):
            for task in options.data.split(","):
                key = f"{task} {draw} {way}"
                unfit = way == "LoRA" and task != "snippets"
                if draw >= TASKS[task].draws or unfit or key in read(options.out):
                    continue
                rows = {**read(options.out), key: measured(task, draw, way)}
                part = options.out.with_suffix(".part")
                part.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
                part.replace(options.out)
                print(key, rows[key], flush=True)
    print(table(read(options.out)))


if __name__ == "__main__":
    main()
