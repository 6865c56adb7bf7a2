"""The job behind `kerasft search`: images in, the best model and a report on all trials out."""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_tuner
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from kerasft.commands.finetune_job import build_classifier, identity_of
from kerasft.commands.workspace import workspace
from kerasft.data import ImageData
from kerasft.hub import load_backbone
from kerasft.search import ExportedAccuracy, FreezeDepthSearch, TrialRecord, ranked, repair_search, table
from kerasft.unfreezing import Recipe

TUNERS = ("bayesian", "random", "grid", "hyperband")


@dataclass(frozen=True)
class SearchSettings:
    """What a search needs beside its data.

    Attributes:
        handle: The backbone: what `kerasft.hub.load_backbone` takes.
        out: The folder that is made.
        image_size: Side of the square images in pixels.
        input_range: Range of pixel values that the backbone expects.
        tuner: Which of keras-tuner's: "bayesian", "random", "grid" or "hyperband".
        trials: How many trials at the most; Hyperband has its own number.
        epochs: Of a trial; for Hyperband the most.
        depths: Freeze depths or names of stages to choose from; None: all.
        recipes: Names of recipes to choose from; None: all.
        learning_rate: Range of base learning rates.
        precision: Of the .tflite file whose accuracy is the score; None: the score is Keras's own.
        max_bytes: The largest such file; None for any.
        max_ms: Its longest latency here, in milliseconds; None for any.
        budget: Seconds behind which no further trial begins; None for no limit.
        batch_norm: As in `load_backbone`.
        overwrite: Whether `out` may be replaced, and an unfinished search of it discarded.
        resume: Whether to go on with an unfinished search of `out`.
        seed: For weights, order and the tuner.
        trust: As in `load_backbone`.
    """

    handle: str
    out: Path
    image_size: int = 224
    input_range: tuple[float, float] = (0.0, 1.0)
    tuner: str = "bayesian"
    trials: int = 20
    epochs: int = 5
    depths: tuple[int | str, ...] | None = None
    recipes: tuple[Recipe, ...] | None = None
    learning_rate: tuple[float, float] = (1e-4, 1e-2)
    precision: str | None = None
    max_bytes: int | None = None
    max_ms: float | None = None
    budget: float | None = None
    batch_norm: str = "inference"
    overwrite: bool = False
    resume: bool = False
    seed: int = 0
    trust: bool = False


@dataclass(frozen=True)
class SearchOutcome:
    """What a search made.

    Attributes:
        records: All trials.
        objective: Name of the score.
        accuracy: Test accuracy of the best model.
        seconds: Whole time.
        out: The folder.
        files: Names of the files in it.
    """

    records: list[TrialRecord]
    objective: str
    accuracy: float
    seconds: float
    out: Path
    files: list[str]

    @property
    def best(self) -> TrialRecord:
        """The best trial."""
        return ranked(self.records, "max")[0]


def run(data: ImageData, settings: SearchSettings, console: Console | None = None) -> SearchOutcome:
    """Search, and write the best model and a report on all trials into `settings.out`.

    Args:
        data: Training, validation and test images with labels.
        settings: The backbone, what is searched, and where to write.
        console: Where the live table is; None makes one.

    Raises:
        FileExistsError: `settings.out` is in use, or has an unfinished search, and `overwrite` is off.
        FileNotFoundError: There is nothing to resume.
        ValueError: A setting does not fit the backbone or the data, or the search to be resumed.
        RuntimeError: Every trial has failed, or another process works on `out`.
    """
    if settings.tuner not in TUNERS:
        raise ValueError(f"There is no tuner {settings.tuner!r}. There are {list(TUNERS)}.")
    begin = time.perf_counter()
    identity = identity_of(settings, data)
    for limit in ("trials", "budget"):  # a search that is resumed may have more of them
        identity.pop(limit)
    with workspace(settings.out, identity, settings.overwrite, settings.resume) as work:
        search = FreezeDepthSearch(
            lambda: _build(settings, len(data.class_names)),
            settings.depths,
            settings.recipes,
            settings.learning_rate,
            budget=settings.budget,
            batch_norm=settings.batch_norm,  # type: ignore[arg-type]
            seed=settings.seed,
        )
        project = work.state / "search"
        if project.exists():
            repair_search(project)
        tuner = _tuner(search, settings, work.state)
        with _LiveTable(search, tuner, settings, console or Console()) as shown:
            tuner.search(
                data.train,
                validation_data=data.validation,
                epochs=settings.epochs,
                shuffle=False,  # the data set shuffles itself
                verbose=0,
                callbacks=[shown.progress],
            )
        records, objective = search.results(tuner), tuner.oracle.objective.name
        model = search.best_model(tuner)
        accuracy = float(model.evaluate(data.test, verbose=0, return_dict=True)["accuracy"])
        folder = work.results
        model.save(folder / "model.keras")
        best = ranked(records, "max")[0]
        (folder / "schedule.json").write_text(json.dumps(best.schedule, indent=2) + "\n")
        (folder / "labels.txt").write_text("\n".join(data.class_names) + "\n")
        search.write_report(folder, tuner)
        files = sorted(path.name for path in folder.iterdir())
    return SearchOutcome(records, objective, accuracy, time.perf_counter() - begin, settings.out, files)


def _build(settings: SearchSettings, classes: int) -> keras.Model:
    backbone = load_backbone(
        settings.handle,
        input_shape=(settings.image_size, settings.image_size, 3),
        batch_norm=settings.batch_norm,  # type: ignore[arg-type]
        trust=settings.trust,
    )
    model = build_classifier(backbone, classes, settings.image_size, settings.input_range)
    model.compile(keras.optimizers.AdamW(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _tuner(search: FreezeDepthSearch, settings: SearchSettings, folder: Path) -> keras_tuner.Tuner:
    objective: Any = "val_accuracy"
    if any(value is not None for value in (settings.precision, settings.max_bytes, settings.max_ms)):
        objective = ExportedAccuracy(settings.precision or "float32", settings.max_bytes, settings.max_ms)
    common = {"objective": objective, "directory": folder, "project_name": "search", "seed": settings.seed}
    with contextlib.redirect_stdout(io.StringIO()):  # it says that it reloads
        if settings.tuner == "hyperband":
            return keras_tuner.Hyperband(search, max_epochs=settings.epochs, **common)
        tuners = {
            "bayesian": keras_tuner.BayesianOptimization,
            "random": keras_tuner.RandomSearch,
            "grid": keras_tuner.GridSearch,
        }
        return tuners[settings.tuner](search, max_trials=settings.trials, **common)


class _LiveTable:
    """The trials so far, the best first, and what the running one does."""

    def __init__(
        self,
        search: FreezeDepthSearch,
        tuner: keras_tuner.Tuner,
        settings: SearchSettings,
        console: Console,
    ) -> None:
        self.search, self.tuner, self.settings, self.console = search, tuner, settings, console
        self.records: list[TrialRecord] = []
        self.progress = _Progress(self._show_progress)
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> _LiveTable:
        self.records = self.search.results(self.tuner)
        self.search.on_trial_end = self._show_trial
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def _show_trial(self, record: TrialRecord) -> None:
        self.records = [*(r for r in self.records if r.trial != record.trial), record]
        if not self.console.is_terminal:
            score = "no score" if record.score is None else f"{record.score:.4f}"
            self.console.print(
                f"trial {record.trial}: {score}, {record.recipe.replace('_', ' ')}, trains from "
                f"{record.trains_from}, {record.epochs} epochs, {record.seconds:.1f} s {record.status}",
                highlight=False,
            )
        self._update("")

    def _show_progress(self, epoch: int, epochs: int) -> None:
        most = "" if self.settings.tuner == "hyperband" else f" of {self.settings.trials}"
        self._update(f"trial {len(self.records) + 1}{most}, epoch {epoch + 1} of {epochs}")

    def _update(self, text: str) -> None:
        if self.console.is_terminal:
            self._live.update(Group(table(self.records, "max", most=10), Text(text)), refresh=True)


class _Progress(keras.callbacks.Callback):
    """Says which epoch begins; all of keras-tuner's copies are the same."""

    display_only = True

    def __init__(self, show: Callable[[int, int], None]) -> None:
        super().__init__()
        self.show = show

    def __deepcopy__(self, memo: dict[int, Any]) -> _Progress:
        return _Progress(self.show)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.show(epoch, self.params["epochs"])
