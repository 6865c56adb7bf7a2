"""What a late thaw does to the next updates, and what a phase change costs; ratios of one run.

    python benchmarks/unfreezing.py [--size 96] [--batch 32] [--rounds 5]

First: updates of a weight that is thawed at step 5,000 under Adam, divided by those of a fresh optimizer,
for a constant gradient. Then: the first step of each phase of a gradual schedule on MobileNetV2, which
traces the training step again, against the first step of plain Keras compiled again at the same depth.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import kerasft
from kerasft.learning_rates import Multipliers


def updates(optimizer: keras.optimizers.Optimizer, late: bool, steps: int) -> np.ndarray:
    """Sizes of the updates of one weight, thawed at step 5,000 or trained from the beginning."""
    weights = [keras.Variable(np.ones(1), dtype="float32", name=name) for name in ("late", "early")]
    optimizer.build(weights)
    gradient = tf.constant([0.5])
    if late:
        step = tf.function(lambda: optimizer.apply([gradient], weights[1:]))
        for _ in range(5000):
            step()
    sizes = []
    for _ in range(steps):
        before = weights[0].numpy()
        optimizer.apply([gradient, gradient], weights)
        sizes.append(float(np.abs(weights[0].numpy() - before)[0]))
    return np.array(sizes)


def late_thaw() -> None:
    """Print the ratios of the first updates after a late thaw."""
    fresh = updates(keras.optimizers.Adam(0.01), False, 20)
    counted = kerasft.with_lr_multipliers(keras.optimizers.Adam(0.01), Multipliers({}))
    print("update after a thaw at step 5,000, in updates of a fresh Adam:")
    for name, optimizer in (("plain Keras", keras.optimizers.Adam(0.01)), ("kerasft", counted)):
        ratio = updates(optimizer, True, 20) / fresh
        print(f"  {name:12} first {ratio[0]:.6f}   largest {ratio.max():.6f} (update {ratio.argmax() + 1})")


def build(size: int) -> keras.Model:
    """MobileNetV2 with a head of ten classes."""
    keras.utils.set_random_seed(0)
    return keras.applications.MobileNetV2(weights=None, input_shape=(size, size, 3), classes=10)


class Clock(keras.callbacks.Callback):
    """Seconds of the first step of each epoch, and of the others."""

    def __init__(self) -> None:
        super().__init__()
        self.first: list[float] = []
        self.others: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self.begin = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        (self.others if batch else self.first).append(time.perf_counter() - self.begin)


def phase_change(size: int, batch: int, rounds: int) -> None:
    """Print what the first step of a phase costs, here and in plain Keras compiled again."""
    images = np.random.default_rng(0).uniform(-1, 1, (4 * batch, size, size, 3)).astype("float32")
    labels = np.zeros(len(images), "int32")
    stages = kerasft.find_stages(build(size))
    depths = [len(stages) - 1, len(stages) * 2 // 3, len(stages) // 2, len(stages) // 4]
    ratios, traces = [], 0
    for _ in range(rounds):
        model, clock = build(size), Clock()
        counted = type("Counted", (type(model),), {})
        original = counted.train_step

        def train_step(self, data, original=original):
            nonlocal traces
            traces += 1
            return original(self, data)

        counted.train_step = train_step
        model.__class__ = counted
        model.compile(keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy")
        schedule = kerasft.UnfreezingSchedule.from_depths(depths)
        options = {"batch_size": batch, "verbose": 0}
        callbacks = [kerasft.GradualUnfreezing(schedule), clock]
        model.fit(images, labels, epochs=len(depths), callbacks=callbacks, **options)
        plain = Clock()
        for depth in depths:
            model = build(size)
            kerasft.freeze(model, depth)
            model.compile(keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy")
            model.fit(images, labels, callbacks=[plain], **options)
        ratios.append([a / b for a, b in zip(clock.first, plain.first, strict=True)])
        print(f"  first steps: kerasft {[round(s, 2) for s in clock.first]} s, ", end="")
        print(f"plain {[round(s, 2) for s in plain.first]} s")
    medians = [statistics.median(column) for column in zip(*ratios, strict=True)]
    print(f"traces: {traces / rounds:.0f} in {len(depths)} phases")
    print(f"first step of a phase, kerasft / plain Keras compiled again: {[round(m, 3) for m in medians]}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores")
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}")
    late_thaw()
    phase_change(options.size, options.batch, options.rounds)


if __name__ == "__main__":
    main()
