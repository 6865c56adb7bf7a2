"""A staged Hub backbone against the uncut SavedModel: forward and full training step, ratios of one run.

    python benchmarks/hub_backbone.py [FOLDER] [--size 96] [--batch 32] [--rounds 5]

Without FOLDER it writes EfficientNet-Lite0 with ImageNet weights first. Both sides train the same classifier
with the same optimizer in alternating rounds; the medians of the rounds are compared.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

import kerasft


def rounds_of(sides: dict[str, Callable[[], object]], rounds: int, calls: int) -> dict[str, list[float]]:
    """Milliseconds a call of each side, round by round, the sides in turn."""
    for call in sides.values():
        for _ in range(3):
            call()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, call in sides.items():
            begin = time.perf_counter()
            for _ in range(calls):
                call()
            times[name].append(1000 * (time.perf_counter() - begin) / calls)
    return times


def report(what: str, times: dict[str, list[float]]) -> float:
    """Print the medians and their ratio, staged by uncut."""
    staged, uncut = (statistics.median(times[name]) for name in ("staged", "uncut"))
    print(f"{what:14} staged {staged:8.2f} ms   uncut {uncut:8.2f} ms   ratio {staged / uncut:.3f}")
    return staged / uncut


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder
        if folder is None:
            from kerasft.examples.efficientnet_lite0 import write_saved_model

            folder = str(write_saved_model(Path(scratch) / "efficientnet_lite0", feature_vector=True))
        measure(folder, options)


def measure(folder: str, options: argparse.Namespace) -> None:
    """Compare forward passes and training steps of the two."""
    images = tf.random.uniform((options.batch, options.size, options.size, 3))
    labels = tf.random.uniform((options.batch,), 0, 10, tf.int32)
    backbone = kerasft.hub.load_backbone(folder, input_shape=(options.size, options.size, 3))
    uncut = tf.saved_model.load(folder)
    shape = backbone.output_shape
    print(f"{platform.machine()}, {os.cpu_count()} cores")
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}")
    print(f"{len(backbone.layers) - 1} stages, batch {options.batch} at {options.size}×{options.size}")

    staged_forward = tf.function(lambda x: backbone(x, training=False))
    uncut_forward = tf.function(lambda x: uncut(x, training=False))
    difference = tf.reduce_max(tf.abs(staged_forward(images) - uncut_forward(images)))
    print(f"largest difference of outputs {float(difference):.1e}")

    def step(network: Callable, variables: list[tf.Variable]) -> Callable[[], object]:
        head = keras.layers.Dense(10)
        head.build(shape)
        everything = [*variables, *(v.value for v in head.trainable_variables)]
        slots = [tf.Variable(tf.zeros_like(v)) for v in everything]

        @tf.function
        def run(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                logits = head(network(x))
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
            for v, m, g in zip(everything, slots, tape.gradient(loss, everything), strict=True):
                m.assign(0.9 * m - 1e-6 * g)
                v.assign_add(m)
            return loss

        return lambda: run(images, labels)

    sides = {
        "staged": lambda: staged_forward(images),
        "uncut": lambda: uncut_forward(images),
    }
    report("forward", rounds_of(sides, options.rounds, options.calls))
    sides = {
        "staged": step(
            lambda x: backbone(x, training=False), [v.value for v in backbone.trainable_variables]
        ),
        "uncut": step(lambda x: uncut(x, training=False), list(uncut.trainable_variables)),
    }
    report("training step", rounds_of(sides, options.rounds, options.calls))


if __name__ == "__main__":
    main()
