"""How much a small network forgets of five classes of Fashion-MNIST when it is fine-tuned on the other five.

    python benchmarks/forgetting.py [--per-class 100] [--seeds 3] [--tune-seeds 1] [--epochs 12]

A small convolutional network with BatchNormalization learns five classes (source), then the other five
(target) from few images of each. Printed is the accuracy on both test sets: on source by the original's head
(for the two remedies that train it on, by that head) on what the fine-tuned backbone computes. First plain
fine-tuning; then each remedy, in the strength that kept most source accuracy on validation images while it
cost no more than half a point of plain fine-tuning's target accuracy there, mean over the seeds of the
tuning, which are other ones. All fine-tune for the same epochs from the same weights.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import kerasft
from kerasft.data.fashion_mnist import DEBIAN_FOLDER, read_idx
from kerasft.probe import TO_FINE_TUNE, solve_head

SOURCE, TARGET = (0, 1, 2, 3, 4), (5, 6, 7, 8, 9)
SOURCE_PER_CLASS = 1000
REPLAYED = 20  # source images of each class that replay may use
MOST_LOST = 0.005  # target accuracy that a remedy may cost
CROSS_ENTROPY = "sparse_categorical_crossentropy"
Arrays = tuple[np.ndarray, np.ndarray]


@dataclass
class Data:
    """Images from 0 to 1 and labels from 0 to 4 of five classes."""

    train: Arrays
    validation: Arrays
    test: Arrays


@functools.cache
def files(part: str) -> Arrays:
    """All images and labels of a part."""
    names = (f"{part}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1"))
    images, labels = (read_idx(DEBIAN_FOLDER / name) for name in names)
    return images[..., None].astype("float32") / 255, labels


def load(classes: tuple[int, ...], per_class: int, seed: int) -> Data:
    """Draw images of five classes: some for training, 2,000 for validation, and the test set."""
    rng = np.random.default_rng(seed)

    def part(name: str) -> Arrays:
        images, labels = files(name)
        rows = rng.permutation(np.flatnonzero(np.isin(labels, classes)))
        return images[rows], np.searchsorted(classes, labels[rows])

    (x, y), test = part("train"), part("t10k")
    validation, x, y = (x[:2000], y[:2000]), x[2000:], y[2000:]
    rows = np.concatenate([np.flatnonzero(y == c)[:per_class] for c in range(5)])
    return Data((x[rows], y[rows]), validation, test)


def build(name: str) -> keras.Model:
    """Four convolutions with BatchNormalization, and a head of five classes: 0.1 million weights."""
    inputs = x = keras.Input((28, 28, 1))
    for number, (width, stride) in enumerate(((16, 2), (32, 1), (32, 2), (64, 2))):
        x = keras.layers.Conv2D(
            width, 3, stride, padding="same", use_bias=False, name=f"block_{number}_conv"
        )(x)
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"block_{number}_bn")(x)
        x = keras.layers.ReLU(name=f"block_{number}_relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(5, "softmax", name=name)(x), name=name)


def pretrained(source: Data, seed: int) -> keras.Model:
    """The original: eight epochs on the source images."""
    keras.utils.set_random_seed(seed)
    original = build("old")
    original.compile(keras.optimizers.Adam(2e-3), CROSS_ENTROPY)
    original.fit(*source.train, epochs=8, batch_size=128, verbose=0)
    return original


def accuracy(model: keras.Model, data: Arrays) -> float:
    """The share of images whose largest score is that of their label."""
    return float(np.mean(model.predict(data[0], batch_size=500, verbose=0).argmax(1) == data[1]))


@dataclass
class Run:
    """An original, and data to fine-tune it on."""

    original: keras.Model
    source: Data
    target: Data
    epochs: int
    seed: int
    plain_weights: list[np.ndarray] = field(default_factory=list)

    def new(self) -> keras.Model:
        """The original's backbone under a new head."""
        keras.utils.set_random_seed(self.seed)
        model = build("new")
        for mine, theirs in zip(model.layers[:-1], self.original.layers[:-1], strict=True):
            mine.set_weights(theirs.get_weights())
        return model

    def batches(self) -> tf.data.Dataset:
        """Shuffled batches of 32."""
        x, y = self.target.train
        return tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x), seed=self.seed).batch(32)

    def fit(
        self, model: keras.Model, optimizer: Any, data: Any = None, loss: Any = None, **more: Any
    ) -> None:
        """Train for all epochs."""
        model.compile(optimizer, loss or CROSS_ENTROPY, **more)
        model.fit(data or self.batches(), epochs=self.epochs, shuffle=False, verbose=0)

    def scores(self, model: keras.Model, both: keras.Model | None, part: str) -> tuple[float, float]:
        """Accuracy on target and source: the source by `both`'s second head, or by the original's."""
        target, source = getattr(self.target, part), getattr(self.source, part)
        if both is not None:
            old = both.predict(source[0], batch_size=500, verbose=0)[1]
            return accuracy(model, target), float(np.mean(old.argmax(1) == source[1]))
        kept = self.original.get_weights()
        body = len(kept) - 2
        self.original.set_weights(model.get_weights()[:body] + kept[body:])
        on_source = accuracy(self.original, source)
        self.original.set_weights(kept)
        return accuracy(model, target), on_source


Tuned = tuple[keras.Model, "keras.Model | None"]


def adam() -> keras.optimizers.Optimizer:
    """The optimizer of all sides."""
    return keras.optimizers.Adam(1e-3)


def plain(run: Run, _: float = 0) -> Tuned:
    """Fine-tune as it is."""
    model = run.new()
    if run.plain_weights:
        model.set_weights(run.plain_weights)
    else:
        run.fit(model, adam())
        run.plain_weights = model.get_weights()
    return model, None


def probe(run: Run, _: float = 0) -> Tuned:
    """The head alone, solved."""
    model = run.new()
    solve_head(model, run.batches())
    return model, None


def layerwise_rates(run: Run, decay: float) -> Tuned:
    """Lower rates for lower stages."""
    model = run.new()
    run.fit(model, kerasft.with_lr_multipliers(adam(), kerasft.layerwise_decay(model, decay)))
    return model, None


def l2_sp(run: Run, strength: float) -> Tuned:
    """Decay towards the pre-trained weights."""
    model = run.new()
    run.fit(model, kerasft.with_l2_sp(adam(), strength, model, reference=run.original))
    return model, None


def interpolation(run: Run, alpha: float) -> Tuned:
    """The average of both models' weights, statistics included."""
    model, _ = plain(run)
    kerasft.interpolate(model, run.original, alpha, shared="new")
    return model, None


def interpolation_again(run: Run, alpha: float) -> Tuned:
    """The same with statistics estimated again from the target's training images."""
    model, _ = plain(run)
    kerasft.interpolate(model, run.original, alpha, data=run.target.train[0], shared="new")
    return model, None


def probe_then_all(run: Run, _: float = 0) -> Tuned:
    """The head solved, then all of it as it is."""
    model = run.new()
    solve_head(model, run.batches(), standard_errors=TO_FINE_TUNE)
    run.fit(model, adam())
    return model, None


def distillation(run: Run, weight: float, solved: bool = False) -> Tuned:
    """Learning without forgetting, from a random head or a solved one."""
    model = run.new()
    if solved:
        solve_head(model, run.batches(), standard_errors=TO_FINE_TUNE)
    both = kerasft.with_original_head(model, run.original)
    data = kerasft.with_original_scores(run.batches(), run.original)
    loss = [CROSS_ENTROPY, kerasft.DistillationLoss(2.0)]
    run.fit(both, adam(), data, loss, loss_weights=[1.0, weight])
    return model, both


def replay(run: Run, share: float, solved: bool = False) -> Tuned:
    """A few source images in each batch, from a random head or a solved one."""
    model = run.new()
    if solved:
        solve_head(model, run.batches(), standard_errors=TO_FINE_TUNE)
    both = kerasft.with_original_head(model, run.original)
    x, y = run.source.train
    rows = np.concatenate([np.flatnonzero(y == c)[:REPLAYED] for c in range(5)])
    data = kerasft.replay(run.batches(), (x[rows], y[rows]), share=share, seed=run.seed)
    run.fit(both, adam(), data, [CROSS_ENTROPY] * 2)
    return model, both


REMEDIES: dict[str, tuple[Callable[[Run, float], Tuned], Sequence[float]]] = {
    "plain": (plain, (0.0,)),
    "head alone": (probe, (0.0,)),
    "layer-wise rates, decay": (layerwise_rates, (0.7, 0.5)),
    "L2-SP, strength": (l2_sp, (3.0, 10.0, 30.0)),
    "WiSE-FT, alpha": (interpolation, (0.9, 0.8, 0.7, 0.6, 0.5)),
    "WiSE-FT, statistics again, alpha": (interpolation_again, (0.9, 0.8, 0.7, 0.6)),
    "distillation, weight": (distillation, (0.1, 0.15, 0.2, 0.3, 1.0)),
    "replay of 20 a class, share": (replay, (0.03, 0.05, 0.1, 0.2)),
    "solved head first": (probe_then_all, (0.0,)),
    "solved head, distillation, weight": (functools.partial(distillation, solved=True), (0.1, 0.2, 0.3, 1.0)),
    "solved head, replay, share": (functools.partial(replay, solved=True), (0.03, 0.05, 0.1, 0.2)),
}


def prepare(seed: int, per_class: int, epochs: int) -> Run:
    """An original, and what it is fine-tuned on."""
    source, target = load(SOURCE, SOURCE_PER_CLASS, seed), load(TARGET, per_class, seed)
    return Run(pretrained(source, seed), source, target, epochs, seed)


def mean_scores(runs: Sequence[Run], name: str, strength: float, part: str) -> tuple[float, float]:
    """Mean accuracy on target and source."""
    found = [run.scores(*REMEDIES[name][0](run, strength), part) for run in runs]
    return statistics.fmean(t for t, _ in found), statistics.fmean(s for _, s in found)


def tuned_strength(runs: Sequence[Run], name: str, least: float) -> float:
    """The strength with the best source accuracy among those that cost no more than they may."""
    strengths = REMEDIES[name][1]
    if len(strengths) == 1:
        return strengths[0]
    found = {}
    for strength in strengths:
        target, source = found[strength] = mean_scores(runs, name, strength, "validation")
        print(f"  {name} {strength:g}: target {target:.4f}, source {source:.4f}", flush=True)
    allowed = [s for s in strengths if found[s][0] >= least]
    return max(allowed or strengths, key=lambda s: found[s][1 if allowed else 0])


def main() -> None:
    """Tune, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-class", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tune-seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--only", nargs="*", help="parts of the names of remedies")
    options = parser.parse_args()
    begin, target, source = time.perf_counter(), 0.0, 0.0
    runs = [prepare(s, options.per_class, options.epochs) for s in range(options.seeds + options.tune_seeds)]
    tests, tuning = runs[: options.seeds], runs[options.seeds :]
    before = statistics.fmean(accuracy(run.original, run.source.test) for run in tests)
    print(
        f"the original on source: {before:.4f} ({time.perf_counter() - begin:.0f} s)\nvalidation:", flush=True
    )
    least = mean_scores(tuning, "plain", 0.0, "validation")[0] - MOST_LOST
    print(f"  target accuracy must reach {least:.4f}", flush=True)
    names = [n for n in REMEDIES if n == "plain" or not options.only or any(o in n for o in options.only)]
    strengths = {name: tuned_strength(tuning, name, least) for name in names}
    print(f"\ntest, mean of {options.seeds} seeds, {options.per_class} images a class")
    print(f"{'':37} target  source  target gained  forgetting gone", flush=True)
    for name, strength in strengths.items():
        found = mean_scores(tests, name, strength, "test")
        target, source = found if name == "plain" else (target, source)
        gone = (found[1] - source) / (before - source)
        label = name if len(REMEDIES[name][1]) == 1 else f"{name} {strength:g}"
        row = f"{found[0]:.4f}  {found[1]:.4f}  {found[0] - target:+.4f}        {gone:+.0%}"
        print(f"{label:37} {row}", flush=True)
    print(f"{time.perf_counter() - begin:.0f} s, TensorFlow {tf.__version__}, Keras {keras.__version__}")


if __name__ == "__main__":
    main()
