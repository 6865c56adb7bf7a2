"""The job of `kerasft finetune` and `kerasft quickstart`: data in, a verified model on disk out."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import keras
from rich.progress import Progress

from kerasft.backup import BackupAndRestore
from kerasft.cache import PrefixCache
from kerasft.commands.class_weights import named, say_weights, weights_of
from kerasft.commands.evaluation import evaluated
from kerasft.commands.evidence import EpochEvidence, Evidence, described, planned, versions
from kerasft.commands.image_task import ImageTask
from kerasft.commands.outcome import Outcome, phase_rows, report_json
from kerasft.commands.progress import EpochBar, progress_display
from kerasft.commands.retention_evidence import retention_evidence
from kerasft.commands.settings import FinetuneSettings
from kerasft.commands.task import Task
from kerasft.commands.training import Training, prepared
from kerasft.commands.workspace import Workspace, workspace
from kerasft.data import ImageData
from kerasft.files import write_text
from kerasft.report import PAGE, write_page
from kerasft.stages import Stages, find_stages
from kerasft.typing import Logs
from kerasft.unfreezing import GradualUnfreezing


def run(
    data: ImageData | Task,
    settings: FinetuneSettings,
    progress: Progress | None = None,
    keep: Sequence[Path] = (),
) -> Outcome:
    """Fine-tune a backbone on `data`, export it, and write everything into `settings.out`.

    Args:
        data: Training, validation and test images with labels, or a task with such data.
        settings: The backbone, the schedule and where to write.
        progress: A running rich progress display; None makes one.
        keep: Folders that are moved into `settings.out` at the end.

    Returns:
        The measured outcome.

    Raises:
        FileExistsError: `settings.out` is in use, or has an unfinished run, and `overwrite` is off.
        FileNotFoundError: There is nothing to resume.
        ValueError: A setting or the schedule does not fit the backbone or the data, or the run to be resumed.
        RuntimeError: A frozen weight moved, which would be a bug; or another process works on `out`.
    """
    keras.utils.set_random_seed(settings.seed)
    begin = time.perf_counter()
    task: Task = ImageTask(data, settings) if isinstance(data, ImageData) else data
    weights = weights_of(settings.class_weights, task.class_names, task.class_counts)
    with (
        workspace(
            settings.out, task.identity(), settings.overwrite, settings.resume, settings.defaults()
        ) as work,
        progress_display(progress) as display,
    ):
        folder = work.results
        say = partial(display.console.print, highlight=False, markup=False)
        say_weights(weights, task.class_names, task.class_counts, say)
        model = task.builder(work.state, say)()
        stages = find_stages(model)
        training = prepared(stages, task, settings, work, weights)
        schedule = training.schedule
        evidence = Evidence(work)
        found = task.identity()
        moved = {str(path): str(settings.out / path.name) for path in keep}
        found["handle"] = moved.get(str(found["handle"]), found["handle"])
        evidence.add(settings=found, data=described(task.data, task.notes), versions=versions())
        evidence.add(**planned(schedule, stages))
        for sentence in training.measured:
            say(sentence)
        evidence.add(measured=training.measured)
        head_accuracy = _head_accuracy(work, model, task)
        cache = None
        if settings.cache and training.is_repeated:
            cache = PrefixCache(work.scratch / "record", keep=True, seed=settings.seed)
        history = _fit(model, stages, training, task, settings, display, work, cache, weights, evidence)
        bar = display.add_task("testing and exporting", total=1 + len(settings.precisions))
        tested = evaluated(model, task.data, task.test)
        display.advance(bar)
        model.save(folder / "model.keras")
        reports, failures = task.export(model, folder, lambda: display.advance(bar))
        (folder / "labels.txt").write_text("\n".join(task.class_names) + "\n", encoding="utf-8")
        schedule.to_json(folder / "schedule.json")
        task.split.to_json(folder / "split.json")
        task.save(folder)
        for path in keep:
            shutil.move(path, folder / path.name)
        usage = task.usage(settings.out, next(iter(reports.values()))) if reports else ""
        evidence.add(evaluation=tested.stored(), usage=usage)
        evidence.finish(folder)
        outcome = Outcome(
            phase_rows(schedule, stages, history),
            head_accuracy,
            tested.accuracy,
            reports,
            failures,
            int(sum(history["frozen_weights"])),
            time.perf_counter() - begin,
            settings.out,
            [*sorted(p.name for p in folder.iterdir()), "report.json", PAGE],
            None if cache is None else cache.report,
            usage,
            named(weights, task.class_names),
        )
        (folder / "report.json").write_text(report_json(outcome, history))
    write_page(settings.out)
    return outcome


def _head_accuracy(work: Workspace, model: keras.Model, task: Task) -> float:
    """The test accuracy of the frozen backbone with the solved head, measured now or before a kill."""
    path = work.state / "head_accuracy.json"
    if not (work.resumed and path.exists()):
        write_text(path, json.dumps(evaluated(model, task.data, task.test).accuracy))
    return float(json.loads(path.read_text()))


def _fit(
    model: keras.Model,
    stages: Stages,
    training: Training,
    data: Task,
    settings: FinetuneSettings,
    display: Progress,
    work: Workspace,
    cache: PrefixCache | None,
    weights: dict[int, float] | None,
    evidence: Evidence,
) -> dict[str, list[float]]:
    keras.utils.set_random_seed(settings.seed)  # whatever came before: a resumed run skips some of it
    model.compile(training.optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    unfreezing = GradualUnfreezing(training.schedule, dropout="inference")
    rows = _Rows(work.state / "history.json", unfreezing)
    callbacks = [
        unfreezing,
        *([] if cache is None else [cache]),
        rows,
        EpochEvidence(evidence, stages, work),
        *retention_evidence(evidence, stages, data.train),
        BackupAndRestore(work.state / "backup", delete_checkpoint=False),
        EpochBar(display, stages),
        keras.callbacks.TerminateOnNaN(),
    ]
    model.fit(
        training.train,
        validation_data=data.validation,
        epochs=sum(settings.epochs),
        shuffle=False,  # the data set shuffles itself
        verbose=0,
        callbacks=callbacks,
        class_weight=weights,
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
        row |= {"frozen_weights": self.unfreezing.frozen_weights, "phase": self.unfreezing.phase}
        self.rows = [*self.rows[:epoch], row]
        write_text(self.path, json.dumps(self.rows))
