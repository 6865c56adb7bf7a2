"""The trial that runs: what keras-tuner's callbacks know of it, and where its files are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_tuner

from kerasft.search.exported_accuracy import ExportedAccuracy, proxy
from kerasft.search.results import (
    CHECKPOINT,
    STATE,
    SearchFolder,
    TrialRecord,
    averaged,
    read_trial,
)
from kerasft.typing import Logs


@dataclass
class TrialContext:
    """One call of `FreezeDepthSearch.fit`.

    Attributes:
        tuner: keras-tuner's tuner; None if `fit` was called by hand.
        trial: keras-tuner's trial; None if `fit` was called by hand.
        folder: The search's folder; None if `fit` was called by hand.
        goal: What the tuner optimizes.
        objective: What chooses the best epoch: the goal, or a value that replaces it while the model trains.
        callbacks: Those that are handed on to `fit`.
        save_callback: keras-tuner's callback that keeps the best epoch, which is replaced.
    """

    tuner: Any
    trial: Any
    folder: SearchFolder | None
    goal: keras_tuner.Objective
    objective: keras_tuner.Objective
    callbacks: list[keras.callbacks.Callback]
    save_callback: Any

    @classmethod
    def of(
        cls, callbacks: Sequence[keras.callbacks.Callback] | None, arguments: Mapping[str, Any]
    ) -> TrialContext:
        """Find the trial that `fit` was called for in the callbacks that keras-tuner adds.

        Args:
            callbacks: Those that `fit` was given.
            arguments: The other arguments of `fit`, by name.
        """
        given: list[Any] = list(callbacks or [])
        tuner_callback = next((c for c in given if hasattr(c, "tuner") and hasattr(c, "trial")), None)
        save_callback = next((c for c in given if type(c).__name__ == "SaveBestEpoch"), None)
        kept = [c for c in given if c is not save_callback]
        validates = arguments.get("validation_data") is not None or bool(arguments.get("validation_split"))
        loss = keras_tuner.Objective("val_loss" if validates else "loss", "min")
        if tuner_callback is None:
            return cls(None, None, None, loss, loss, kept, save_callback)
        tuner = tuner_callback.tuner
        goal = objective = tuner.oracle.objective
        if isinstance(goal, ExportedAccuracy):
            objective = _Proxy()
        elif goal.name == "default_objective":  # none was given: the least loss
            objective = loss
        if type(tuner_callback).__name__ == "TunerCallback" and _ignores_batches(tuner):
            kept = [_EpochHooks(c) if c is tuner_callback else c for c in kept]
        folder = SearchFolder(tuner.project_dir)
        return cls(tuner, tuner_callback.trial, folder, goal, objective, kept, save_callback)

    @property
    def number(self) -> str:
        """The trial's number, as keras-tuner writes it; "" if `fit` was called by hand."""
        return "" if self.trial is None else str(self.trial.trial_id)

    @property
    def key(self) -> tuple[str, str]:
        """A name for the trial, across all searches of a process."""
        return ("" if self.folder is None else str(self.folder.project), self.number)

    @property
    def values(self) -> dict[str, Any]:
        """The trial's hyperparameters, those that Hyperband adds included."""
        return {} if self.trial is None else dict(self.trial.hyperparameters.values)

    @property
    def is_hyperband(self) -> bool:
        """Whether Hyperband halves the number of trials, and continues the best."""
        return "tuner/epochs" in self.values

    @property
    def own_folder(self) -> Path | None:
        """The trial's folder."""
        return None if self.folder is None else self.folder.trial(self.number)

    @property
    def checkpoint(self) -> Path | None:
        """The file of the best epoch."""
        return None if self.own_folder is None else self.own_folder / CHECKPOINT

    @property
    def state(self) -> Path | None:
        """The file from which a later trial continues; None if none can."""
        values = self.values
        if self.own_folder is None or values.get("tuner/round", 0) >= values.get("tuner/bracket", 0):
            return None
        return self.own_folder / STATE

    def continued(self) -> tuple[TrialRecord, Path] | None:
        """The trial that this one continues, with its state, if it does and both are there."""
        before = self.values.get("tuner/trial_id")
        if self.folder is None or not before or not self.values.get("tuner/initial_epoch"):
            return None
        record, state = read_trial(self.folder.trial(before)), self.folder.trial(before) / STATE
        return (record, state) if record is not None and record.schedule and state.exists() else None

    def end(self, record: TrialRecord, keep: int, is_repeated: bool = False) -> TrialRecord:
        """Write the trial's result record, and delete files that no later trial needs.

        Args:
            record: What this execution achieved.
            keep: How many of the best trials' checkpoints stay.
            is_repeated: Whether the trial's record of an earlier execution is there.

        Returns:
            The record as it was written, with the average score over all executions.
        """
        if self.folder is None or self.own_folder is None:
            return record
        record = averaged(record, read_trial(self.own_folder) if is_repeated else None)
        record.write(self.own_folder)
        self.folder.sweep(keep, self.goal.direction, record, parallel=not self.alone)
        self.folder.back_up()
        return record

    def end_search(self) -> None:
        """Let the tuner start no new trial."""
        oracle: Any = getattr(self.tuner, "oracle", None)
        if hasattr(oracle, "trials"):
            oracle.max_trials = len(oracle.trials)

    @property
    def best(self) -> float:
        """The best value of the trial's earlier executions; NaN if there is none."""
        best = float(getattr(self.save_callback, "best_value", math.nan))
        return math.nan if math.isinf(best) else best

    def note_best(self, value: float) -> None:
        """Tell later executions of the best value so far."""
        if self.save_callback is not None:
            self.save_callback.best_value = value

    @property
    def alone(self) -> bool:
        """Whether no other trial runs at the same time, as far as can be known."""
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


class _EpochHooks(keras.callbacks.Callback):
    """keras-tuner's callback without its hooks for batches: they do nothing, and make every step single."""

    def __init__(self, tuner_callback: keras.callbacks.Callback) -> None:
        super().__init__()
        self.tuner_callback = tuner_callback

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self.tuner_callback.set_model(model)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.tuner_callback.on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.tuner_callback.on_epoch_end(epoch, logs)


def _ignores_batches(tuner: Any) -> bool:
    """Whether a tuner's hooks for batches are keras-tuner's own, which do nothing."""
    plain = keras_tuner.Tuner
    hooks = ("on_batch_begin", "on_batch_end")
    return isinstance(tuner, plain) and all(getattr(type(tuner), h) is getattr(plain, h) for h in hooks)
