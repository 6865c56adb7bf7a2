"""Step time of an optimizer with learning-rate multipliers against the plain one, ratio of one run.

    python benchmarks/multipliers.py [--size 96] [--batch 32] [--calls 60]

Both sides train MobileNetV2 by their own compiled Keras training function, in turns that change with every
call; the order of the two changes as well. Then the optimizers' update alone, on the same variables' shapes.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

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
    parser.add_argument("--calls", type=int, default=60)
    options = parser.parse_args()
    images = tf.random.uniform((options.batch, options.size, options.size, 3))
    labels = tf.random.uniform((options.batch,), 0, 10, tf.int32)
    data = tf.data.Dataset.from_tensors((images, labels)).repeat()
    models = {"multipliers": build(options.size, True), "plain": build(options.size, False)}
    iterators = {name: iter(data) for name in models}
    step = measure({n: lambda n=n: models[n].train_function(iterators[n]) for n in models}, options.calls)
    update = measure({n: update_of(model) for n, model in models.items()}, 4 * options.calls)
    print(f"{platform.machine()}, {os.cpu_count()} cores")
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}")
    for what, (ours, plain) in (("training step", step), ("update alone", update)):
        print(f"{what:14} multipliers {ours:6.1f} ms   plain {plain:6.1f} ms   ratio {ours / plain:.3f}")


def update_of(model: keras.Model) -> Callable[[], None]:
    """The optimizer's update for gradients that stay the same."""
    gradients = [tf.random.normal(v.shape) for v in model.trainable_variables]
    return tf.function(lambda: model.optimizer.apply(gradients, model.trainable_variables))


def measure(calls: dict[str, Callable[[], None]], count: int) -> tuple[float, float]:
    """Median milliseconds of both, called in turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(count + 3):
        for name in sorted(calls, reverse=bool(turn % 2)):
            begin = time.perf_counter()
            calls[name]()
            if turn > 2:  # the first ones trace
                times[name].append(1000 * (time.perf_counter() - begin))
    return statistics.median(times["multipliers"]), statistics.median(times["plain"])


if __name__ == "__main__":
    main()
