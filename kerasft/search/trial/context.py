"""The trial that runs: what keras-tuner's callbacks tell of it, and where its files are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras_tuner

from kerasft.search.exported_accuracy import ExportedAccuracy, proxy
from kerasft.search.results import (
    CHECKPOINT,
    STATE,
    SearchFolder,
    TrialRecord,
    read_trial,
)


@dataclass
class TrialRun:
    """One call of `FreezeDepthSearch.fit`.

    Attributes:
        tuner: keras-tuner's tuner; None if `fit` was called by hand.
        trial: keras-tuner's trial; None likewise.
        folder: The search's folder; None likewise.
        goal: What the tuner optimizes.
        objective: What tells the best epoch: the goal, or what stands for it while the model trains.
        callbacks: Those that are handed on to `fit`.
        saver: keras-tuner's callback that keeps the best epoch, which is replaced.
    """

    tuner: Any
    trial: Any
    folder: SearchFolder | None
    goal: keras_tuner.Objective
    objective: keras_tuner.Objective
    callbacks: list[Any]
    saver: Any

    @classmethod
    def of(cls, callbacks: Sequence[Any] | None, arguments: Mapping[str, Any]) -> TrialRun:
        """The trial that `fit` was called for, by the callbacks that keras-tuner adds."""
        given = list(callbacks or [])
        link = next((c for c in given if hasattr(c, "tuner") and hasattr(c, "trial")), None)
        saver = next((c for c in given if type(c).__name__ == "SaveBestEpoch"), None)
        validates = arguments.get("validation_data") is not None or bool(arguments.get("validation_split"))
        plain = keras_tuner.Objective("val_loss" if validates else "loss", "min")
        goal = plain if link is None else link.tuner.oracle.objective
        objective = goal
        if isinstance(goal, ExportedAccuracy):
            objective = _Proxy()
        elif goal.name == "default_objective":  # none was given: the least loss
            objective = plain
        if link is not None and _only_shows(link.tuner):
            link.display_only = True  # its hooks for batches do nothing, and single steps cost time
        return cls(
            None if link is None else link.tuner,
            None if link is None else link.trial,
            None if link is None else SearchFolder(link.tuner.project_dir),
            goal,
            objective,
            [c for c in given if c is not saver],
            saver,
        )

    @property
    def key(self) -> tuple[str, str]:
        """A name for the trial, across all searches of a process."""
        return ("", "") if self.folder is None else (str(self.folder.project), str(self.trial.trial_id))

    @property
    def values(self) -> dict[str, Any]:
        """The trial's hyperparameters, those that Hyperband adds included."""
        return {} if self.trial is None else dict(self.trial.hyperparameters.values)

    @property
    def halves(self) -> bool:
        """Whether Hyperband halves the number of trials, and lets the best go on."""
        return "tuner/epochs" in self.values

    @property
    def own_folder(self) -> Path | None:
        """The trial's folder."""
        return None if self.folder is None else self.folder.trial(self.trial.trial_id)

    @property
    def checkpoint(self) -> Path | None:
        """The file of the best epoch."""
        return None if self.own_folder is None else self.own_folder / CHECKPOINT

    @property
    def state(self) -> Path | None:
        """The file from which a later trial goes on; None if none can."""
        values = self.values
        if self.own_folder is None or values.get("tuner/round", 0) >= values.get("tuner/bracket", 0):
            return None
        return self.own_folder / STATE

    def continued(self) -> tuple[TrialRecord, Path] | None:
        """The trial that this one goes on from, with its state, if it does and both are there."""
        before = self.values.get("tuner/trial_id")
        if self.folder is None or not before or not self.values.get("tuner/initial_epoch"):
            return None
        record, state = read_trial(self.folder.trial(before)), self.folder.trial(before) / STATE
        return (record, state) if record is not None and record.schedule and state.exists() else None

    @property
    def best(self) -> float:
        """The best value of the trial's earlier executions."""
        best = float(getattr(self.saver, "best_value", math.nan))
        return math.nan if math.isinf(best) else best

    def note_best(self, value: float) -> None:
        """Tell later executions."""
        if self.saver is not None:
            self.saver.best_value = value

    @property
    def alone(self) -> bool:
        """Whether no other trial runs beside this one, as far as can be told."""
        ongoing = getattr(getattr(self.tuner, "oracle", None), "ongoing_trials", None)
        return ongoing is not None and len(ongoing) <= 1

    @property
    def most_failures(self) -> int:
        """How many trials in a row may fail."""
        return int(getattr(getattr(self.tuner, "oracle", None), "max_consecutive_failed_trials", 3))


class _Proxy(keras_tuner.Objective):
    """Validation accuracy if it is logged, or else the loss: for a goal that is measured at the end."""

    def __init__(self) -> None:
        super().__init__("val_accuracy", "max")

    def has_value(self, logs: Mapping[str, Any]) -> bool:
        found = proxy(logs)
        self.name, self.direction = found.name, found.direction
        return self.name in logs


def _only_shows(tuner: Any) -> bool:
    plain = keras_tuner.Tuner
    hooks = ("on_batch_begin", "on_batch_end")
    return isinstance(tuner, plain) and all(getattr(type(tuner), h) is getattr(plain, h) for h in hooks)
