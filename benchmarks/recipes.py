"""The default recipe against other ways to fine-tune on little data: accuracy, and time.

    python benchmarks/recipes.py [--data stamps,…] [--ways default,…] [--out FILE] [--figure FILE]

The data are those of `little_data.py`. Every way trains on the same samples for the same epochs. What was
measured is kept in FILE, a row for each way and draw: an interrupted run goes on.

The recipe's parts were chosen on draws 0 and 1, which the table leaves out. Rivals get the best of their
rates by the mean accuracy on the very test samples; the default recipe has one.
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
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from little_data import TASKS
from recipes_table import drawn, table

import kerasft
from kerasft.probe import solve_head
from kerasft.recipes import default

BATCH = 32
LOSS = "sparse_categorical_crossentropy"
RESULTS = Path(__file__).with_name("recipes.json")


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


def recipe(run: Run, smoothing: float = 0.0, averaged: int = 0, **arguments: Any) -> None:
    """`kerasft.recipes.default`; with labels smoothed, or the mean of the last epochs' weights, if asked."""
    found = default(run.model, run.data, epochs=run.epochs, seed=run.draw, **arguments)
    run.probe = run.model.get_weights()
    classes, train, loss = run.model.output_shape[-1], found.train, found.loss
    if smoothing:
        train = train.map(lambda x, y: (x, tf.one_hot(y, classes)))
        loss = keras.losses.CategoricalCrossentropy(label_smoothing=smoothing)
    kept: list[list[np.ndarray]] = []
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: kept.append(run.model.get_weights()))
    callbacks = [*found.callbacks, keep] if averaged else found.callbacks
    run.model.compile(found.optimizer, loss)
    run.model.fit(train, epochs=found.epochs, callbacks=callbacks, shuffle=False, verbose=0)
    if averaged:
        run.model.set_weights([np.mean(values, 0) for values in zip(*kept[-averaged:], strict=True)])


def surest_head(run: Run) -> None:
    """The default recipe, begun with the head whose penalty has the lowest loss."""
    with mock.patch("kerasft.recipes.measured.TO_FINE_TUNE", 0.0):
        recipe(run)


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
    "all stages": functools.partial(recipe, depth=0),
    "scales trained": functools.partial(recipe, batch_norm="inference"),
    "decay 0.9": functools.partial(recipe, layer_decay=0.9),
    "rate 1e-4": functools.partial(recipe, learning_rate=1e-4),
    "rate 5e-4": functools.partial(recipe, learning_rate=5e-4),
    "surest head": surest_head,
    "labels smoothed": functools.partial(recipe, smoothing=0.1),
    "weights averaged": functools.partial(recipe, averaged=3),
}
OF_PICTURES = ("without views", "scales trained")
OF_TEXTS = ("LoRA",)


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
    parser.add_argument(
        "--first", type=int, default=2, help="the first fold or seed: the recipe was chosen on those before"
    )
    parser.add_argument("--draws", type=int, default=6, help="how many folds or seeds")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--figure", type=Path, help="where to draw it")
    options = parser.parse_args()
    for draw in range(options.first, options.first + options.draws):
        for way in options.ways.split(","):
            for task in options.data.split(","):
                key = f"{task} {draw} {way}"
                unfit = way in (OF_PICTURES if task == "snippets" else OF_TEXTS)
                if draw >= TASKS[task].draws or unfit or key in read(options.out):
                    continue
                rows = {**read(options.out), key: measured(task, draw, way)}
                part = options.out.with_suffix(".part")
                part.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
                part.replace(options.out)
                print(key, rows[key], flush=True)
    rows = {key: row for key, row in read(options.out).items() if int(key.split()[1]) >= options.first}
    print(table(rows, list(TASKS), list(WAYS)))
    if options.figure:
        drawn(rows, list(TASKS), list(WAYS), options.figure)


if __name__ == "__main__":
    main()
