"""The job behind `kerasft finetune` and `kerasft quickstart`: data in, a verified model on disk out."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import keras
from rich.progress import Progress

from kerasft import export
from kerasft.backup import BackupAndRestore
from kerasft.cache import PrefixCache
from kerasft.commands.classifier import build_classifier, train_head_alone
from kerasft.commands.outcome import Outcome, _phases, _to_json
from kerasft.commands.progress import _Bar, _display
from kerasft.commands.settings import Settings, identity_of
from kerasft.commands.workspace import Workspace, workspace
from kerasft.data import ImageData
from kerasft.hub import load_backbone
from kerasft.learning_rates import layerwise_decay, with_lr_multipliers
from kerasft.stages import Stages, find_stages
from kerasft.typing import Logs
from kerasft.unfreezing import GradualUnfreezing, Phase, UnfreezingSchedule


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

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        row = {name: float(value) for name, value in (logs or {}).items()}
        self.rows = [*self.rows[:epoch], {**row, "frozen_weights": self.unfreezing.frozen_weights}]
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.rows))
        partial.replace(self.path)
