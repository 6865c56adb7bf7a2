"""Step time of an optimizer with learning-rate multipliers against the plain one, ratio of one run.

    python benchmarks/multipliers.py [--size 96] [--batch 32] [--rounds 5]

Both sides train MobileNetV2 by their own compiled Keras training function, in alternating rounds.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

import kerasft


def build(size: int, multipliers: bool) -> keras.Model:
    """MobileNetV2 with a head of ten classes, compiled."""
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2(weights=None, input_shape=(size, size, 3), classes=10)
    optimizer = keras.optimizers.AdamW(1e-4)
    if multipliers:
        optimizer = kerasft.with_lr_multipliers(optimizer, kerasft.layerwise_decay(model, 0.8))
    model.compile(optimizer, "sparse_categorical_crossentropy")
    model.optimizer.build(model.trainable_variables)
    model.make_train_function()
    return model


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=8)
    options = parser.parse_args()
    images = tf.random.uniform((options.batch, options.size, options.size, 3))
    labels = tf.random.uniform((options.batch,), 0, 10, tf.int32)
    data = tf.data.Dataset.from_tensors((images, labels)).repeat()
    models = {"multipliers": build(options.size, True), "plain": build(options.size, False)}
    iterators = {name: iter(data) for name in models}
    times: dict[str, list[float]] = {name: [] for name in models}
    for lap in range(options.rounds + 1):
        for name, model in models.items():
            begin = time.perf_counter()
            for _ in range(options.calls):
                model.train_function(iterators[name])
            if lap:  # the first traces
                times[name].append(1000 * (time.perf_counter() - begin) / options.calls)
    print(f"{platform.machine()}, {os.cpu_count()} cores")
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}")
    with_multipliers, plain = (statistics.median(times[name]) for name in ("multipliers", "plain"))
    print(
        f"training step   multipliers {with_multipliers:.1f} ms   plain {plain:.1f} ms   "
        f"ratio {with_multipliers / plain:.3f}"
    )


if __name__ == "__main__":
    main()
