"""The job behind `kerasft finetune` and `kerasft quickstart`: data in, a verified model on disk out."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from kerasft import export
from kerasft.backup import BackupAndRestore
from kerasft.cache import CacheReport, PrefixCache
from kerasft.commands.workspace import Workspace, workspace
from kerasft.data import ImageData
from kerasft.hub import load_backbone
from kerasft.learning_rates import layerwise_decay, with_lr_multipliers
from kerasft.stages import Stages, find_stages
from kerasft.unfreezing import GradualUnfreezing, Phase, UnfreezingSchedule


@dataclass(frozen=True)
class Settings:
    """What a job needs beside its data.

    Attributes:
        handle: The backbone: what `kerasft.hub.load_backbone` takes.
        out: The folder that is made.
        image_size: Side of the square images in pixels.
        input_range: Range of pixel values that the backbone expects; images are scaled from 0..255 to it
            inside the model.
        epochs: Epochs in each phase: the head, then equal parts of the backbone from its upper end down.
        learning_rate: Base learning rate of AdamW; the last phase has a third of it.
        decay: Layer-wise learning-rate decay from one stage to the one below it.
        batch_norm: As in `load_backbone`.
        precisions: What to export, each to a file of its own.
        overwrite: Whether `out` may be replaced, and an unfinished run of it discarded.
        resume: Whether to go on with an unfinished run of `out`.
        cache: Whether frozen work is recorded and done once (`kerasft.PrefixCache`).
        seed: For weights and shuffling.
        trust: As in `load_backbone`.
    """

    handle: str
    out: Path
    image_size: int = 224
    input_range: tuple[float, float] = (0.0, 1.0)
    epochs: tuple[int, ...] = (3, 3, 4, 4)
    learning_rate: float = 1e-3
    decay: float = 0.8
    batch_norm: str = "inference"
    precisions: tuple[str, ...] = ("float32", "float16")
    overwrite: bool = False
    resume: bool = False
    cache: bool = True
    seed: int = 0
    trust: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a job made.

    Attributes:
        phases: For each phase: depth, epochs, trained parameters, last validation accuracy.
        head_accuracy: Test accuracy of the frozen backbone with a trained head.
        accuracy: Test accuracy of the fine-tuned Keras model.
        reports: The export's report for each precision.
        failures: Why a precision was not written.
        frozen_checked: How many comparisons of a frozen weight before and after an epoch were made; all were
            equal to the bit, or the job would have raised.
        seconds: Whole time, from the loaded data to the verified files.
        out: The folder.
        files: Names of the files in it.
        cache: What was recorded; None if nothing was to be.
    """

    phases: list[dict[str, Any]]
    head_accuracy: float
    accuracy: float
    reports: dict[str, Any]
    failures: dict[str, str]
    frozen_checked: int
    seconds: float
    out: Path
    files: list[str] = field(default_factory=list)
    cache: CacheReport | None = None


def run(data: ImageData, settings: Settings, progress: Progress | None = None) -> Outcome:
    """Fine-tune a backbone on `data`, export it, and write everything into `settings.out`.

    Args:
        data: Training, validation and test images with labels.
        settings: The backbone, the schedule and where to write.
        progress: A running rich progress display; None makes one.

    Returns:
        The measured outcome.

    Raises:
        FileExistsError: `settings.out` is in use, or has an unfinished run, and `overwrite` is off.
        FileNotFoundError: There is nothing to resume.
        ValueError: A setting does not fit the backbone or the data, or the run to be resumed.
        RuntimeError: A frozen weight moved, which would be a bug; or another process works on `out`.
    """
    keras.utils.set_random_seed(settings.seed)
    begin = time.perf_counter()
    with (
        workspace(settings.out, identity_of(settings, data), settings.overwrite, settings.resume) as work,
        _display(progress) as display,
    ):
        folder = work.results
        backbone = load_backbone(
            settings.handle,
            input_shape=(settings.image_size, settings.image_size, 3),
            batch_norm=settings.batch_norm,  # type: ignore[arg-type]
            trust=settings.trust,
        )
        model = build_classifier(backbone, len(data.class_names), settings.image_size, settings.input_range)
        stages = find_stages(model)
        schedule = equal_parts(stages, settings.epochs, settings.learning_rate / 3)
        head_accuracy = _head_accuracy(work, model, data, sum(settings.epochs), display)
        cache = None
        if settings.cache:
            cache = PrefixCache(work.scratch / "record", keep=True, seed=settings.seed)
        history = _fit(model, stages, schedule, data, settings, display, work, cache)
        task = display.add_task("testing and exporting", total=1 + len(settings.precisions))
        accuracy = float(model.evaluate(data.test, verbose=0, return_dict=True)["accuracy"])
        display.advance(task)
        model.save(folder / "model.keras")
        reports, failures = {}, {}
        for precision in settings.precisions:
            name = "model.tflite" if precision == settings.precisions[0] else f"model_{precision}.tflite"
            try:
                reports[precision] = export.to_tflite(
                    model,
                    folder / name,
                    precision=precision,
                    labels=list(data.class_names),
                    input_range=(0.0, 255.0),
                    holdout=data.test,
                )
            except export.ExportError as error:  # the trained model is worth keeping all the same
                failures[precision] = str(error)
            display.advance(task)
        (folder / "labels.txt").write_text("\n".join(data.class_names) + "\n")
        schedule.to_json(folder / "schedule.json")
        outcome = Outcome(
            _phases(schedule, stages, history),
            head_accuracy,
            accuracy,
            reports,
            failures,
            int(sum(history["frozen_weights"])),
            time.perf_counter() - begin,
            settings.out,
            [*sorted(p.name for p in folder.iterdir()), "report.json"],
            None if cache is None else cache.report,
        )
        (folder / "report.json").write_text(_to_json(outcome, history))
    return outcome


def identity_of(settings: Any, data: ImageData) -> dict[str, Any]:
    """What a run that is resumed must have in common with the one that was killed."""
    said = {k: v for k, v in dataclasses.asdict(settings).items() if k not in ("out", "overwrite", "resume")}
    sizes = {"train": data.train_size, "validation": data.validation_size, "test": data.test_size}
    return {
        **said,
        "data": data.name,
        "classes": data.class_names,
        "images": sizes,
        "batches": len(data.train),
    }


def _head_accuracy(
    work: Workspace, model: keras.Model, data: ImageData, epochs: int, display: Progress
) -> float:
    """That of `train_head_alone`, or what it was before the run was killed."""
    path = work.state / "head_accuracy.json"
    if work.resumed and path.exists():
        next(iter(data.train))  # each pass has an order of its own, and training has the second one
    else:
        path.write_text(json.dumps(train_head_alone(model, data, epochs, display)))
    return float(json.loads(path.read_text()))


def build_classifier(
    backbone: keras.Model, classes: int, size: int, input_range: tuple[float, float]
) -> keras.Model:
    """A classifier of images with pixels from 0 to 255 over a backbone, preprocessing in its graph."""
    low, high = input_range
    x = inputs = keras.Input((size, size, 3), name="image")
    if (low, high) != (0.0, 255.0):
        x = keras.layers.Rescaling((high - low) / 255, low, name="rescaling")(x)
    x = backbone(x)
    if isinstance(x, dict):
        raise ValueError(f"The backbone returns several tensors, {sorted(x)}; a classifier needs one.")
    if len(x.shape) == 4:
        x = keras.layers.GlobalAveragePooling2D(name="pooling")(x)
    x = keras.layers.Dropout(0.2, name="dropout")(x)
    outputs = keras.layers.Dense(classes, activation="softmax", dtype="float32", name="scores")(x)
    return keras.Model(inputs, outputs, name="classifier")


def equal_parts(
    stages: Stages, epochs: tuple[int, ...], learning_rate: float | None = None
) -> UnfreezingSchedule:
    """Head, then equal parts of the backbone from its upper end down, one for each further phase.

    Args:
        stages: The model's stages.
        epochs: Epochs in each phase.
        learning_rate: Base learning rate of the last phase; None keeps the optimizer's.
    """
    last = len(stages) - 1
    depths = [round(last * (1 - i / len(epochs))) for i in range(len(epochs))]
    depths = [min(d, last) for d in depths]
    phases: dict[int, int] = {}
    for depth, count in zip(depths, epochs, strict=True):
        phases[depth] = phases.get(depth, 0) + count
    rows = [Phase(stages[d].name, n) for d, n in phases.items()]
    if learning_rate is not None and len(rows) > 1:
        rows[-1] = dataclasses.replace(rows[-1], learning_rate=learning_rate)
    return UnfreezingSchedule(rows)


def train_head_alone(model: keras.Model, data: ImageData, epochs: int, display: Progress) -> float:
    """Test accuracy of the frozen backbone with a head trained as long: what fine-tuning has to beat.

    The backbone runs once over the images; the head then trains on its features.
    """
    features = keras.Model(model.input, model.get_layer("dropout").input)
    rows: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    task = display.add_task("features of the frozen backbone", total=None)
    for name, part in (("train", data.train), ("test", data.test)):
        pairs = []
        for images, labels in part:
            pairs.append((features.predict_on_batch(images), labels.numpy()))
            display.advance(task)
        rows[name] = tuple(np.concatenate(column) for column in zip(*pairs, strict=True))  # type: ignore
    display.remove_task(task)
    scores = model.get_layer("scores")
    head = keras.Sequential(
        [
            keras.Input(rows["train"][0].shape[1:]),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(scores.units, activation="softmax"),
        ]
    )
    head.compile(keras.optimizers.AdamW(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    head.fit(*rows["train"], batch_size=32, epochs=epochs, verbose=0)
    return float(head.evaluate(*rows["test"], verbose=0, return_dict=True)["accuracy"])


def _fit(
    model: keras.Model,
    stages: Stages,
    schedule: UnfreezingSchedule,
    data: ImageData,
    settings: Settings,
    display: Progress,
    work: Workspace,
    cache: PrefixCache | None,
) -> dict[str, list[float]]:
    keras.utils.set_random_seed(settings.seed)  # whatever came before: a resumed run skips some of it
    optimizer = with_lr_multipliers(
        keras.optimizers.AdamW(settings.learning_rate), layerwise_decay(stages, settings.decay)
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    unfreezing = GradualUnfreezing(schedule)
    rows = _Rows(work.state / "history.json", unfreezing)
    callbacks = [
        unfreezing,
        *([] if cache is None else [cache]),
        rows,
        BackupAndRestore(work.state / "backup", delete_checkpoint=False),
        _Bar(display, stages),
        keras.callbacks.TerminateOnNaN(),
    ]
    epochs = sum(settings.epochs)
    model.fit(
        data.train,
        validation_data=data.validation,
        epochs=epochs,
        shuffle=False,  # the data set shuffles itself
        verbose=0,
        callbacks=callbacks,
    )
    return {name: [row[name] for row in rows.rows] for name in rows.rows[0]}


class _Rows(keras.callbacks.Callback):
    """The log of each epoch in a file, so that a resumed job can report on all of them."""

    def __init__(self, path: Path, unfreezing: GradualUnfreezing) -> None:
        super().__init__()
        self.path, self.unfreezing = path, unfreezing
        self.rows: list[dict[str, float]] = json.loads(path.read_text()) if path.exists() else []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        row = {name: float(value) for name, value in (logs or {}).items()}
        self.rows = [*self.rows[:epoch], {**row, "frozen_weights": self.unfreezing.frozen_weights}]
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.rows))
        partial.replace(self.path)


class _Bar(keras.callbacks.Callback):
    """One bar over all epochs."""

    display_only = True

    def __init__(self, display: Progress, stages: Stages) -> None:
        super().__init__()
        self.display = display
        self.stages = stages
        self.task: Any = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        first = next(stage.name for stage in self.stages if stage.trainable)
        steps = self.params["steps"]
        text = f"epoch {epoch + 1}/{self.params['epochs']}, training from {first}"
        if self.task is None:
            total = steps and steps * self.params["epochs"]
            self.task = self.display.add_task(text, total=total, completed=(steps or 0) * epoch)
        self.display.update(self.task, description=text)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.display.advance(self.task)


def _phases(
    schedule: UnfreezingSchedule, stages: Stages, history: dict[str, list[float]]
) -> list[dict[str, Any]]:
    rows = []
    for phase, start in zip(schedule, schedule.starts, strict=True):
        end = (start or 0) + (phase.epochs or 0) - 1
        rows.append(
            {
                "depth": stages.depth(phase.depth),
                "from": phase.depth,
                "epochs": phase.epochs,
                "trained": int(history["trainable_params"][end]),
                "accuracy": history["accuracy"][end],
                "val_accuracy": history["val_accuracy"][end],
            }
        )
    return rows


def _to_json(outcome: Outcome, history: dict[str, list[float]]) -> str:
    content = {
        "phases": outcome.phases,
        "head_accuracy": outcome.head_accuracy,
        "accuracy": outcome.accuracy,
        "seconds": round(outcome.seconds, 1),
        "cache": None if outcome.cache is None else dataclasses.asdict(outcome.cache),
        "not_exported": outcome.failures,
        "exports": {name: json.loads(report.to_json()) for name, report in outcome.reports.items()},
        "history": history,
    }
    for name, report in content["exports"].items():  # type: ignore[attr-defined]
        report["path"] = Path(outcome.reports[name].path).name
    return json.dumps(content, indent=2) + "\n"


@contextlib.contextmanager
def _display(progress: Progress | None) -> Iterator[Progress]:
    if progress is not None:
        yield progress
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as display:
        yield display
