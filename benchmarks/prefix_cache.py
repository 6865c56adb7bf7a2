"""PrefixCache against plain Keras on Fashion-MNIST: whole runs and epochs after the first, ratios of one run.

    python benchmarks/prefix_cache.py [--images 2048] [--size 96] [--rounds 3] [--only NAME] [--figure FILE]
    python benchmarks/prefix_cache.py --sizes [--figure FILE]

The first form trains MobileNetV2 (weights at random) and EfficientNet-Lite0 (ImageNet weights) with a frozen
backbone, with two thirds of the stages frozen, and with a gradual schedule of four phases that ends with the
upper half thawed; each with and without the cache, in turn, validation included. Ratios are medians of the
rounds; "an epoch" compares medians of the epochs after the first. The last line of each is the cost of a
cache that is off: there the model augments in its first layer. The figure shows the backbone with real
weights. The second form shows cost and memory against the size of the data set.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from kerasft.export.figures import COLORS, OTHER, new_figure, save_figure

import kerasft
from kerasft.data import load_dataset


@dataclass
class Run:
    """Seconds of a whole fit and of its epochs, and after each the validation accuracy and the memory."""

    seconds: float = 0.0
    epochs: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)


class Clock(keras.callbacks.Callback):
    """Takes the time of each epoch, validation included."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[float] = []
        self.memory: list[int] = []

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.begin = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.epochs.append(time.perf_counter() - self.begin)
        self.memory.append(private_memory())


def private_memory() -> int:
    """Bytes that the process holds for itself alone, mapped files excluded, as Linux says."""
    with open("/proc/self/status") as file:
        return 1024 * int(next(line for line in file if line.startswith("RssAnon")).split()[1])


def images_of(count: int, size: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """`count` images to train and a quarter of that to validate, with labels."""
    data = load_dataset("tfds:fashion_mnist", image_size=size, validation_fraction=0.2)
    parts = []
    for part, wanted in ((data.train, count), (data.validation, count // 4)):
        rows = [pair for pair in part.unbatch().take(wanted).batch(256).as_numpy_iterator()]
        parts.append(tuple(np.concatenate(column) for column in zip(*rows, strict=True)))
    return tuple(parts)


def backbones(size: int) -> Iterator[tuple[str, Callable[[], keras.Model]]]:
    """The two backbones by name, as functions that build them."""
    yield (
        "MobileNetV2",
        lambda: keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(size, size, 3)),
    )
    from kerasft.examples.efficientnet_lite0 import write_saved_model

    with tempfile.TemporaryDirectory() as scratch:
        folder = str(write_saved_model(Path(scratch) / "lite0", feature_vector=True, rescale=True))
        yield "EfficientNet-Lite0", lambda: kerasft.hub.load_backbone(folder, input_shape=(size, size, 3))


def classifier(build: Callable[[], keras.Model], size: int, augment: bool = False) -> keras.Model:
    """A compiled classifier of ten classes over a backbone that takes pixels."""
    keras.utils.set_random_seed(0)
    backbone = build()
    x = inputs = keras.Input((size, size, 3))
    if augment:
        x = keras.layers.RandomFlip("horizontal")(x)
    if isinstance(backbone.layers[1], keras.layers.Conv2D):  # MobileNetV2, which expects -1 to 1
        x = keras.layers.Rescaling(1 / 127.5, -1)(x)
    x = backbone(x)
    if len(x.shape) == 4:
        x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.2)(x)
    model = keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x))
    optimizer = kerasft.with_lr_multipliers(keras.optimizers.Adam(1e-3), {}, model=model)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def fit(
    model: keras.Model, parts: tuple, epochs: int, callbacks: list[keras.callbacks.Callback], source: str
) -> Run:
    """Train, and take the times."""
    (images, labels), validation = parts
    clock = Clock()
    options = {
        "validation_data": validation,
        "epochs": epochs,
        "verbose": 0,
        "callbacks": [*callbacks, clock],
    }
    begin = time.perf_counter()
    if source == "arrays":
        history = model.fit(images, labels, batch_size=32, **options)
    else:
        train = tf.data.Dataset.from_tensor_slices((images, labels))
        train = train.shuffle(len(images), seed=0).batch(32).prefetch(2)
        history = model.fit(train, **options)
    return Run(time.perf_counter() - begin, clock.epochs, history.history["val_accuracy"], clock.memory)


def compare(
    title: str, rounds: int, train: Callable[[list[keras.callbacks.Callback]], Run]
) -> tuple[Run, Run]:
    """Train with and without the cache in turn, print the ratios, and return the last two runs."""
    whole, later = [], []
    for _ in range(rounds):
        cache = kerasft.PrefixCache()
        cached = train([cache])
        plain = train([])
        whole.append(plain.seconds / cached.seconds)
        later.append(statistics.median(plain.epochs[1:]) / statistics.median(cached.epochs[1:]))
    print(
        f"{title:38} plain {plain.seconds:6.1f} s  cached {cached.seconds:5.1f} s  whole run "
        f"{statistics.median(whole):5.2f}  an epoch {statistics.median(later):5.1f}  accuracy "
        f"{plain.accuracy[-1]:.3f} {cached.accuracy[-1]:.3f}",
        flush=True,
    )
    return plain, cached


def measure(options: argparse.Namespace) -> None:
    """Print the table, and draw the figure."""
    parts = images_of(options.images, options.size)
    print(
        f"{options.images} images of {options.size}×{options.size} to train, {len(parts[1][0])} to validate"
    )
    runs: dict[str, tuple[Run, Run]] = {}
    for name, build in backbones(options.size):
        if options.only in name:
            runs |= measure_backbone(name, build, parts, options)
    if options.figure:
        draw({title: pair for title, pair in runs.items() if "EfficientNet" in title}, options.figure)


def measure_backbone(
    name: str, build: Callable[[], keras.Model], parts: tuple, options: argparse.Namespace
) -> dict[str, tuple[Run, Run]]:
    """The rows of one backbone."""
    last = len(kerasft.find_stages(classifier(build, options.size))) - 1

    def frozen(depth: int, epochs: int, callbacks: list, augment: bool = False) -> Run:
        model = classifier(build, options.size, augment)
        kerasft.freeze(model, depth)
        return fit(model, parts, epochs, callbacks, options.source)

    def gradual(callbacks: list) -> Run:
        depths = [last, round(last * 5 / 6), round(last * 2 / 3), round(last / 2)]
        schedule = kerasft.UnfreezingSchedule.from_depths(depths, every=3)
        model = classifier(build, options.size)
        return fit(model, parts, 12, [kerasft.GradualUnfreezing(schedule), *callbacks], options.source)

    cases = {
        "head, 20 epochs": lambda callbacks: frozen(last, 20, callbacks),
        "two thirds frozen, 6 epochs": lambda callbacks: frozen(round(last * 2 / 3), 6, callbacks),
        "four phases, 12 epochs": gradual,
    }
    runs = {
        f"{name}: {title}": compare(f"{name}: {title}", options.rounds, train)
        for title, train in cases.items()
    }
    off = cost_when_off(build, parts, options)
    print(f"{name}: a cache that is off, an epoch with it by without: {off:.3f}", flush=True)
    return runs


def cost_when_off(build: Callable[[], keras.Model], parts: tuple, options: argparse.Namespace) -> float:
    """Time of an epoch with a cache that is off by the time without: one model, short fits in turn."""
    model = classifier(build, options.size, augment=True)
    kerasft.freeze(model, len(kerasft.find_stages(model)) - 1)
    few = tuple(tuple(column[:512] for column in part) for part in parts)
    fit(model, few, 1, [], options.source)
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(4 * options.rounds):
        for used in (turn % 2, 1 - turn % 2):
            cache = kerasft.PrefixCache()
            times[used].extend(fit(model, few, 4, [cache] * used, options.source).epochs[1:])
            assert not used or "draws random numbers" in str(cache.reason)
    return statistics.median(times[1]) / statistics.median(times[0])


def draw(runs: dict[str, tuple[Run, Run]], path: str) -> None:
    """Validation accuracy over time, with and without the cache."""
    rows = -(-len(runs) // 3)
    figure, panels = new_figure(rows, 3, size=(12, 3.4 * rows), squeeze=False)
    for axes, (title, pair) in zip(panels.flat, runs.items(), strict=False):
        for run, label, color in zip(pair, ("plain Keras", "PrefixCache"), (OTHER, COLORS[0]), strict=True):
            start = run.seconds - sum(run.epochs)
            times = np.cumsum(run.epochs) + start
            axes.plot(times, run.accuracy, "o-", color=color, label=label, markersize=3, linewidth=1.2)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("seconds")
        axes.set_ylabel("validation accuracy")
        axes.set_xscale("log")
        axes.legend(fontsize=8, frameon=False)
    save_figure(figure, path)


def measure_sizes(options: argparse.Namespace) -> None:
    """Print seconds an epoch and memory for growing data sets, with a cap that the largest exceeds."""
    name, build = next(backbones(options.size))
    cap = 2**27
    print(f"{name}, half of the stages frozen, record capped at {cap / 1e6:.0f} MB of memory")
    rows = []
    for count in (1024, 4096, 16384):
        parts = images_of(count, options.size)
        runs = []
        for callbacks in ([], [cache := kerasft.PrefixCache(max_bytes=cap)]):
            model = classifier(build, options.size)
            kerasft.freeze(model, (len(kerasft.find_stages(model)) - 1) // 2)
            runs.append(fit(model, parts, 3, callbacks, options.source))
        plain, cached = runs
        rows.append((count, plain.epochs[-1], cached.epochs[0], cached.epochs[-1]))
        print(
            f"{count:6} images: plain {plain.epochs[-1]:6.1f} s an epoch, recording {cached.epochs[0]:5.1f}, "
            f"from the record {cached.epochs[-1]:5.1f}; record {cache.report.bytes / 1e6:6.1f} MB, of it in "
            f"memory at most {cache.report.peak_bytes / 1e6:5.1f} MB; private memory of the process at most "
            f"{max(plain.memory) / 1e6:6.0f} MB plain, {max(cached.memory) / 1e6:6.0f} MB cached",
            flush=True,
        )
    if options.figure:
        figure, axes = new_figure()
        counts = [row[0] for row in rows]
        for column, label in ((1, "plain Keras"), (2, "recording epoch"), (3, "from the record")):
            axes.loglog(counts, [row[column] for row in rows], label=label)
        axes.set_xlabel("images")
        axes.set_ylabel("seconds an epoch")
        axes.legend(frameon=False)
        save_figure(figure, options.figure)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--source", choices=("arrays", "dataset"), default="arrays")
    parser.add_argument("--only", default="")
    parser.add_argument("--sizes", action="store_true")
    parser.add_argument("--figure")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores")
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}")
    (measure_sizes if options.sizes else measure)(options)


if __name__ == "__main__":
    main()
