"""FreezeDepthSearch against plain keras-tuner: the same trials on Fashion-MNIST, ratios of one run.

    python benchmarks/search.py [--images 2048] [--trials 12] [--epochs 5] [--rounds 1] [--figure FILE]
    python benchmarks/search.py --memory --images 256 --trials 30

Both sides get the same twelve sets of hyperparameters from keras-tuner's RandomSearch, over
EfficientNet-Lite0 with ImageNet weights: recipes, five freeze depths in the upper half (the frozen head is
the fifth), rates, decay and dropout. The plain side trains ordinary Keras layers (with --staged the same
Hub stages) as keras-tuner does, whole model and whole checkpoints, with the same schedules by
GradualUnfreezing. Printed are the time of the search, of its trials with a frozen head, until each side
reached the plain side's best score, the best scores, and the size of the checkpoints.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_tuner
import numpy as np
import tensorflow as tf
from kerasft.export.figures import COLORS, OTHER, new_figure, save_figure
from prefix_cache import images_of, private_memory

import kerasft
from kerasft.search import apply
from kerasft.unfreezing import schedule_of

DEPTHS = (9, 12, 14, 16)  # of 19 stages; the head is 18


@dataclass
class Run:
    """What a search took: recipe, seconds and score of each trial; seconds since the search began and
    validation accuracy of each epoch; and bytes of checkpoints."""

    seconds: float = 0.0
    trials: list[tuple[str, float, float]] = field(default_factory=list)
    epochs: list[tuple[float, float]] = field(default_factory=list)
    checkpoints: int = 0

    @property
    def best(self) -> float:
        return max(score for _, _, score in self.trials)

    def seconds_to(self, score: float) -> float:
        """Seconds until an epoch has reached a score; infinity if none has."""
        return min((at for at, value in self.epochs if value >= score), default=float("inf"))


class Clock(keras.callbacks.Callback):
    """Notes when each epoch ended, and what it had reached; all copies write into one list."""

    display_only = True

    def __init__(self, begin: float, epochs: list[tuple[float, float]]) -> None:
        super().__init__()
        self.begin, self.epochs = begin, epochs

    def __deepcopy__(self, memo: Any) -> Clock:
        return Clock(self.begin, self.epochs)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.epochs.append((time.perf_counter() - self.begin, float((logs or {})["val_accuracy"])))


def builder(load: Callable[[], keras.Model], size: int) -> Callable[[], keras.Model]:
    """A function that builds a compiled classifier of ten classes."""

    def build_model() -> keras.Model:
        backbone = load()
        inputs = keras.Input((size, size, 3))
        x = keras.layers.Dropout(0.2)(backbone(inputs))
        model = keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x))
        model.compile(keras.optimizers.AdamW(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    return build_model


class Plain(keras_tuner.HyperModel):
    """The same trials without anything shared: what one would write for keras-tuner oneself."""

    def __init__(self, build_model: Any, space: Any) -> None:
        super().__init__()
        self.build_model, self.space = build_model, space
        self.times: list[tuple[str, float, float]] = []

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        self.begin = time.perf_counter()
        keras.utils.set_random_seed(0)
        model = self.build_model()
        stages = kerasft.find_stages(model)
        self.choice = self.space.choose(hp, model, stages)
        apply(self.choice, model, stages)
        return model

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        stages, choice = kerasft.find_stages(model), self.choice
        schedule = schedule_of(choice.recipe, stages, choice.depth, kwargs["epochs"], choice.learning_rate)
        if choice.decay is not None:
            kerasft.with_lr_multipliers(
                model.optimizer, kerasft.layerwise_decay(stages, choice.decay), model=model
            )
        unfreezing = kerasft.GradualUnfreezing(schedule, "inference", verify=False)
        callbacks = [unfreezing, *kwargs.pop("callbacks")]
        history = model.fit(*args, callbacks=callbacks, **kwargs)
        seconds = time.perf_counter() - self.begin
        self.times.append((choice.recipe, seconds, max(history.history["val_accuracy"])))
        return history


def run(hypermodel: Any, parts: tuple, folder: str, options: argparse.Namespace) -> Run:
    """One search."""
    begin = time.perf_counter()
    found = Run()
    tuner = keras_tuner.RandomSearch(
        hypermodel, "val_accuracy", max_trials=options.trials, seed=options.seed, directory=folder,
        project_name=type(hypermodel).__name__,
    )  # fmt: skip
    tuner.search(
        *parts[0], validation_data=parts[1], epochs=options.epochs, batch_size=32, verbose=0,
        callbacks=[Clock(begin, found.epochs)],
    )  # fmt: skip
    found.seconds = time.perf_counter() - begin
    if isinstance(hypermodel, Plain):
        found.trials = hypermodel.times
    else:
        found.trials = [(r.recipe, r.seconds, r.score or 0.0) for r in hypermodel.results()]
    found.checkpoints = sum(p.stat().st_size for p in Path(tuner.project_dir).glob("trial_*/*.h5"))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-plain", action="store_true")
    parser.add_argument("--staged", action="store_true")
    parser.add_argument("--memory", action="store_true", help="measure memory over --trials trials alone")
    parser.add_argument("--figure")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores")
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}, keras-tuner {keras_tuner.__version__}")
    parts = images_of(options.images, options.size)
    trials = f"{options.trials} trials × {options.epochs} epochs"
    print(f"{options.images} images of {options.size}×{options.size}, {trials}")
    from kerasft.examples.efficientnet_lite0 import build_efficientnet_lite0, write_saved_model

    shape = (options.size, options.size, 3)
    ratios: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as scratch:
            handle = str(write_saved_model(Path(scratch) / "lite0", feature_vector=True, rescale=True))

            def staged(handle: str = handle) -> keras.Model:
                return kerasft.hub.load_backbone(handle, input_shape=shape)

            def layers() -> keras.Model:
                return build_efficientnet_lite0(classes=None, input_shape=shape, rescale=True)

            if options.memory:
                measure_memory(builder(staged, options.size), parts, scratch, options.trials)
                return
            search = kerasft.FreezeDepthSearch(builder(staged, options.size), DEPTHS, batch_norm="inference")
            shared = run(search, parts, scratch, options)
            print(_trials("kerasft", shared))
            if options.no_plain:
                continue
            build = builder(staged if options.staged else layers, options.size)
            plain = run(Plain(build, search.space), parts, scratch, options)
            print(_trials("keras-tuner", plain))
        for name, value in compare(plain, shared).items():
            ratios.setdefault(name, []).append(value)
    for name, values in ratios.items():
        print(f"{name:58} {statistics.median(values):8.3f}")
    if options.figure and not options.no_plain:
        draw(plain, shared, options.figure)


def measure_memory(build: Callable[[], keras.Model], parts: tuple, folder: str, trials: int) -> None:
    """Print what the process holds after each of many trials, and by how much that has grown."""
    held: list[int] = []

    def note(record: kerasft.TrialRecord) -> None:
        held.append(private_memory())
        print(
            f"trial {record.trial}  {held[-1] / 1e6:7.1f} MB  {record.recipe}, depth {record.depth}",
            flush=True,
        )

    search = kerasft.FreezeDepthSearch(build, DEPTHS, batch_norm="inference", prune=False)
    search.on_trial_end = note
    tuner = keras_tuner.RandomSearch(
        search, "val_accuracy", max_trials=trials, seed=1, directory=folder, project_name="memory"
    )
    tuner.search(*parts[0], validation_data=parts[1], epochs=2, batch_size=32, verbose=0)
    third = trials // 3
    first, last = statistics.median(held[third : 2 * third]), statistics.median(held[-third:])
    print(f"memory in the last third of the trials by that in the second (medians): {last / first:.3f}")
    print(f"the most in the last third by the most before: {max(held[-third:]) / max(held[:-third]):.3f}")


def compare(plain: Run, shared: Run) -> dict[str, float]:
    """The numbers, by name."""

    def heads(r: Run) -> float:
        return statistics.median(seconds for recipe, seconds, _ in r.trials[1:] if recipe == "frozen_head")

    return {
        "seconds, plain keras-tuner": plain.seconds,
        "seconds, FreezeDepthSearch": shared.seconds,
        "whole search, times faster": plain.seconds / shared.seconds,
        "a trial with a frozen head, times faster": heads(plain) / heads(shared),
        "until the plain side's best score, times faster": plain.seconds_to(plain.best)
        / shared.seconds_to(plain.best),
        "until one point less, times faster": plain.seconds_to(plain.best - 0.01)
        / shared.seconds_to(plain.best - 0.01),
        "best score, plain keras-tuner": plain.best,
        "best score, FreezeDepthSearch": shared.best,
        "checkpoints, plain keras-tuner, MB": plain.checkpoints / 1e6,
        "checkpoints, FreezeDepthSearch, MB": shared.checkpoints / 1e6,
        "checkpoints, FreezeDepthSearch by plain keras-tuner": shared.checkpoints / plain.checkpoints,
    }


def _trials(title: str, found: Run) -> str:
    rows = [f"  {recipe:28} {seconds:6.1f} s  {score:.4f}" for recipe, seconds, score in found.trials]
    rows += ["  epochs " + " ".join(f"{at:.0f}:{value:.4f}" for at, value in found.epochs)]
    return "\n".join([f"{title}: {found.seconds:.1f} s", *rows])


def draw(plain: Run, shared: Run, path: str) -> None:
    """The best validation accuracy so far over the time since the search began."""
    figure, axes = new_figure()
    for found, label, color in ((plain, "keras-tuner", OTHER), (shared, "FreezeDepthSearch", COLORS[0])):
        times, values = zip(*found.epochs, strict=True)
        axes.step(times, np.maximum.accumulate(values), where="post", label=label, color=color, marker="")
        axes.axvline(found.seconds, color=color, linestyle=":", linewidth=1)
    axes.axhline(plain.best, color=OTHER, linestyle="--", linewidth=0.8)
    axes.set(xscale="log", xlabel="seconds since the search began", ylabel="best validation accuracy so far")
    axes.legend(frameon=False)
    save_figure(figure, path)


if __name__ == "__main__":
    main()
