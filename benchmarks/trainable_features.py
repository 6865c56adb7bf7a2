"""What int8 costs a head that learns on the device, against what it costs the inference file.

    python benchmarks/trainable_features.py [--seeds 3] [--epochs 20]

Pictures are Tux Paint's stamps, the backbone is EfficientNet-Lite0 at 96 pixels; a seed is a fold of the
pictures and a first head. At each precision `to_trainable_tflite` writes a file, whose `features` are
recorded and whose `train` teaches the head in LiteRT, with Adam, on batches of 32 in the same order; `scores`
are held against the classes of the pictures to test. The other side is the head that was taught on float32
features, put back by `load_head`, in `to_tflite`'s file of the same precision. Accuracies are in percent; the
last column is the mean less that of float32.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from little_data import TASKS, Samples

from kerasft import export

PRECISIONS = ("float32", "weight_only", "int8")
BATCH, RATE = 32, 1e-3
TASK = TASKS["stamps"]


class DeviceFile:
    """A trainable file as a client runs it, with LiteRT and NumPy alone."""

    def __init__(self, path: Path) -> None:
        file = Interpreter(str(path), num_threads=2)
        self._run = {name: file.get_signature_runner(name) for name in ("features", "train", "scores")}
        (self._input,) = self._run["features"].get_input_details()
        self._weights = set(self._run["scores"].get_input_details()) - {"features"}
        self.state = dict(np.load(path.with_suffix(".npz")))
        self.digest = self.state.pop("digest")

    def features(self, pictures: np.ndarray) -> np.ndarray:
        """What the frozen layers give, shape (pictures, width)."""
        run = self._run["features"]
        return np.concatenate([run(**{self._input: picture[None]})["features"] for picture in pictures])

    def teach(self, features: np.ndarray, classes: np.ndarray, epochs: int, seed: int) -> None:
        """Train the head from its first values on."""
        targets = np.eye(classes.max() + 1, dtype="float32")[classes]
        rng = np.random.default_rng(seed)
        for _ in range(epochs):
            order = rng.permutation(len(classes))
            for at in np.split(order, range(BATCH, len(order), BATCH)):
                given = {"features": features[at], "target": targets[at]}
                self.state = self._run["train"](**given, learning_rate=np.float32([RATE]), **self.state)
                del self.state["loss"]

    def accuracy(self, features: np.ndarray, classes: np.ndarray) -> float:
        """The share of samples whose class gets the highest score."""
        weights = {name: self.state[name] for name in self._weights}
        scores = self._run["scores"](features=features, **weights)["scores"]
        return float(np.mean(scores.argmax(1) == classes))


def measured(
    train: Samples, test: Samples, epochs: int, seed: int, folder: Path
) -> Iterator[tuple[str, str, float]]:
    """The accuracy of both kinds of file at each precision, one after the other."""
    keras.utils.set_random_seed(seed)
    model, _ = TASK.build(int(train[1].max()) + 1, False)
    model.compile(keras.optimizers.Adam(RATE), "sparse_categorical_crossentropy")
    options = {"representative_data": train[0], "input_range": (0, 255)}
    for precision in PRECISIONS:
        path = folder / f"{precision}_{seed}.tflite"
        export.to_trainable_tflite(model, path, precision=precision, **options)
        device = DeviceFile(path)
        device.teach(device.features(train[0]), train[1], epochs, seed)
        yield "device", precision, device.accuracy(device.features(test[0]), test[1])
        if precision == "float32":
            np.savez(folder / "trained.npz", digest=device.digest, **device.state)
    taught = export.load_head(model, folder / "trained.npz")
    for precision in PRECISIONS:
        path = folder / f"inference_{precision}_{seed}.tflite"
        report = export.to_tflite(taught, path, precision=precision, holdout=test, **options)
        assert report.accuracy_file is not None
        yield "inference", precision, report.accuracy_file


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    given = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}")
    found: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(given.seeds):
            train, test = TASK.split(seed)
            for kind, precision, accuracy in measured(train, test, given.epochs, seed, Path(folder)):
                found.setdefault((kind, precision), []).append(100 * accuracy)
    print(f"{len(train[1])} pictures of {train[1].max() + 1} classes to train, {len(test[1])} to test")
    seeds = "".join(f"{f'seed {seed}':>9}" for seed in range(given.seeds))
    print(f"{'file':10}{'precision':12}{seeds}{'mean':>9}{'lost':>9}")
    for (kind, precision), accuracies in found.items():
        mean, most = np.mean(accuracies), np.mean(found[kind, "float32"])
        each = "".join(f"{accuracy:9.1f}" for accuracy in accuracies)
        print(f"{kind:10}{precision:12}{each}{mean:9.1f}{most - mean:9.1f}")


if __name__ == "__main__":
    main()
