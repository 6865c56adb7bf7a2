"""A training step of a file that learns on the device, against Keras's own on the same head.

    python benchmarks/on_device.py [--features 1280] [--classes 10] [--batch 32] [--steps 200]

A Dense with a softmax is exported by `to_trainable_tflite`, with SGD and momentum and with Adam. Then steps
on the same batch are timed in LiteRT on one thread, all weights and slots passed in and out as a client does,
and in Keras by `train_on_batch`, in turns of 20. The medians, their ratio and the load of the machine are
printed.
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
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from kerasft import export

TURN = 20


def head(features: int, classes: int) -> keras.Model:
    """A classifier of features, whose frozen part changes nothing."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((features,), name="given")
    x = keras.layers.Rescaling(0.5)(inputs)
    return keras.Model(inputs, keras.layers.Dense(classes, activation="softmax", name="scores")(x))


def litert_step(path: Path, features: np.ndarray, targets: np.ndarray) -> Callable[[], None]:
    """A function that takes one step in LiteRT."""
    state = dict(np.load(path.with_suffix(".npz")))
    del state["digest"]
    train = Interpreter(str(path), num_threads=1).get_signature_runner("train")
    rate = np.float32([1e-3])

    def step() -> None:
        nonlocal state
        state = train(features=features, target=targets, learning_rate=rate, **state)
        del state["loss"]

    return step


def keras_step(model: keras.Model, features: np.ndarray, targets: np.ndarray) -> Callable[[], None]:
    """A function that takes one step in Keras, of the last layer alone."""
    dense = model.layers[-1]
    own = keras.Sequential([keras.Input(features.shape[1:]), type(dense).from_config(dense.get_config())])
    own.set_weights(dense.get_weights())
    own.compile(
        type(model.optimizer).from_config(model.optimizer.get_config()),
        "categorical_crossentropy",
        jit_compile=False,
    )
    return lambda: own.train_on_batch(features, targets)


def medians(sides: dict[str, Callable[[], None]], steps: int) -> dict[str, float]:
    """Milliseconds of a step on each side, measured in turns."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(1 + -(-steps // TURN)):  # the first one warms up
        for name, step in sides.items():
            for _ in range(TURN):
                begin = time.perf_counter()
                step()
                if turn:
                    times[name].append(time.perf_counter() - begin)
    return {name: 1000 * statistics.median(found) for name, found in times.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("features", 1280), ("classes", 10), ("batch", 32), ("steps", 200)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    features = rng.uniform(0, 2, (given.batch, given.features)).astype("float32")
    targets = np.eye(given.classes, dtype="float32")[rng.integers(0, given.classes, given.batch)]
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}")
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}")
    print(f"{given.features:,} features × {given.classes} classes × {given.batch} samples")
    rules = {"momentum": keras.optimizers.SGD(1e-3, momentum=0.9), "adam": keras.optimizers.Adam(1e-3)}
    with tempfile.TemporaryDirectory() as folder:
        for name, optimizer in rules.items():
            model = head(given.features, given.classes)
            model.compile(optimizer, "categorical_crossentropy")
            path = Path(folder) / f"{name}.tflite"
            report = export.to_trainable_tflite(model, path)
            sides = {
                "LiteRT": litert_step(path, features, targets),
                "Keras": keras_step(model, features, targets),
            }
            ms = medians(sides, given.steps)
            print(
                f"{name:9} LiteRT {ms['LiteRT']:.3f} ms   Keras {ms['Keras']:.3f} ms   "
                f"ratio {ms['LiteRT'] / ms['Keras']:.3f}   "
                f"50 steps differ by {report.steps_parity.max_relative:.1e}"
            )


if __name__ == "__main__":
    main()
