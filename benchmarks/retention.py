"""What `Retention` costs of an epoch, and a sweep of shares against as many evaluations; ratios of one run.

    python benchmarks/retention.py [--size 96] [--images 512] [--rounds 5]

MobileNetV2 trains on random pictures: all of it, its upper third, and that with `PrefixCache`. What the
callback's hook takes at an epoch's end is divided by what the epoch takes without it, medians over the
epochs. Then `interpolation_sweep` with eleven shares and eleven calls of `model.evaluate` in turns, on as
many pictures.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import kerasft


class Clock(keras.callbacks.Callback):
    """Seconds of each epoch up to the end of its last step, and of the callback that it calls then."""

    def __init__(self, inner: keras.callbacks.Callback) -> None:
        super().__init__()
        self.inner = inner
        self.epochs: list[float] = []
        self.inners: list[float] = []

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self.inner.set_model(model)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.inner.on_train_begin(logs)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.begin = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        middle = time.perf_counter()
        self.inner.on_epoch_end(epoch, logs)
        self.epochs.append(middle - self.begin)
        self.inners.append(time.perf_counter() - middle)


def build(size: int) -> keras.Model:
    """MobileNetV2 with a head of ten classes, compiled."""
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2(weights=None, input_shape=(size, size, 3), classes=10)
    model.compile(keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def callback(images: np.ndarray, labels: np.ndarray, rounds: int, share: float, cached: bool = False) -> None:
    """Print what the callback takes of an epoch with this share of the stages frozen."""
    model = build(images.shape[1])
    stages = kerasft.find_stages(model)
    kerasft.freeze(stages, round(len(stages) * share))
    clock = Clock(kerasft.Retention(model, images))
    callbacks = [clock, kerasft.PrefixCache()] if cached else [clock]
    model.fit(images, labels, epochs=rounds + 2, verbose=0, callbacks=callbacks)
    epoch, inner = (statistics.median(seconds[2:]) for seconds in (clock.epochs, clock.inners))
    frozen = f"{kerasft.freeze_depth(model)} of {len(stages)} stages frozen{', cached' * cached}"
    print(f"{frozen}: epoch {epoch:.2f} s, Retention {1000 * inner:.0f} ms, ratio {inner / epoch:.3f}")


def sweep(images: np.ndarray, labels: np.ndarray, rounds: int) -> None:
    """Print what a sweep takes in eleven evaluations."""
    model = build(images.shape[1])
    before = model.get_weights()
    model.set_weights([w + 0.01 * np.abs(w) for w in before])

    def evaluations() -> None:
        for _ in range(11):
            model.evaluate(images, labels, verbose=0)

    sides = {
        "sweep": lambda: kerasft.interpolation_sweep(model, before, (images, labels)),
        "evaluate": evaluations,
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name in list(sides) if turn % 2 else list(sides)[::-1]:
            begin = time.perf_counter()
            sides[name]()
            seconds[name].append(time.perf_counter() - begin)
    ours, theirs = (statistics.median(seconds[name][1:]) for name in sides)
    print(f"sweep {ours:.2f} s, eleven evaluations {theirs:.2f} s, ratio {ours / theirs:.2f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (options.images, options.size, options.size, 3)).astype("float32")
    labels = rng.integers(0, 10, options.images)
    print(f"{platform.machine()}, {os.cpu_count()} cores")
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}; {options.images} pictures")
    callback(images, labels, options.rounds, 0.0)
    callback(images, labels, options.rounds, 2 / 3)
    callback(images, labels, options.rounds, 2 / 3, cached=True)
    sweep(images, labels, min(options.rounds, 3))


if __name__ == "__main__":
    main()
