"""The callback of a running trial: its best epoch's checkpoint, its curve, whether it goes on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import keras_tuner

from kerasft import _keras
from kerasft.search.results import is_better
from kerasft.search.trial.checkpoint import read_checkpoint, write_checkpoint
from kerasft.typing import Logs


class TrialMonitor(keras.callbacks.Callback):
    """Keeps the best epoch of a trial in a file, and stops a trial that is unlikely to become the best.

    Args:
        objective: What the tuner optimizes; anything with `has_value`, `get_value`, `name` and `direction`.
        before: Checksums of the model's weights before training.
        checkpoint: The file for the best epoch; None keeps none.
        best: The best value of earlier executions of the trial; worst possible if there is none.
        is_unlikely: Called after each epoch with the curve and the freeze depths so far; if it is true the
            trial ends. None never stops.
        state: The file from which a later trial can continue; None writes none.

    Attributes:
        curve: The objective after each epoch.
        depths: The freeze depth in each epoch.
        logs: What each epoch has logged.
        stopped: Why the trial was stopped; else None.
        best: The best value so far, those of earlier executions included.
    """

    def __init__(
        self,
        objective: keras_tuner.Objective,
        before: Sequence[str],
        checkpoint: Path | None,
        best: float,
        is_unlikely: Callable[[list[float], list[int]], bool] | None = None,
        state: Path | None = None,
    ) -> None:
        super().__init__()
        self.objective, self.before, self.checkpoint, self.best = objective, before, checkpoint, best
        self.is_unlikely, self.state = is_unlikely, state
        self.curve: list[float] = []
        self.depths: list[int] = []
        self.logs: list[dict[str, float]] = []
        self.stopped: str | None = None

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Note the epoch's logs, write files, and stop a trial that is unlikely to win."""
        logs = {name: float(value) for name, value in (logs or {}).items()}
        if math.isnan(logs.get("loss", 0.0)):
            raise keras_tuner.errors.FailedTrialError(f"The loss became NaN in epoch {epoch}.")
        value = value_of(self.objective, logs)
        self.curve.append(value)
        self.logs.append(logs)
        self.depths.append(int(logs.get("freeze_depth", 0)))
        if is_better(value, self.best, self.objective.direction):
            self.best = value
            if self.checkpoint is not None:
                write_checkpoint(self.checkpoint, self.model, self.before)
        if self.state is not None:
            write_state(self.state, self.model, self.before)
        if self.is_unlikely is not None and self.is_unlikely(self.curve, self.depths):
            self.stopped = (
                f"stopped as unlikely after epoch {epoch}: no trial like it has gained from there on as "
                "much as it needed to become the best"
            )
            self.model.stop_training = True


def value_of(objective: keras_tuner.Objective, logs: Mapping[str, float]) -> float:
    """The objective's value in what an epoch has logged.

    Raises:
        FatalValueError: It is not logged; that ends the search.
    """
    if objective.has_value(logs):
        return float(objective.get_value(logs))
    hint = "Name one of those as the tuner's objective, or give `compile` the metric."
    if "val_" in str(objective) and not any(name.startswith("val_") for name in logs):
        hint = "Names with val_ need validation data: search(..., validation_data=...)."
    raise keras_tuner.errors.FatalValueError(
        f"The objective {objective} is not logged. An epoch logs {sorted(logs)}. {hint}"
    )


def write_state(path: Path, model: keras.Model, before: Sequence[str]) -> None:
    """Write all that a later trial needs to continue the training of `model`."""
    write_checkpoint(path, model, before, _keras.optimizer_state(model.optimizer))


def read_state(path: Path, model: keras.Model) -> None:
    """Load what `write_state` wrote into a model that was just built, and into its built optimizer."""
    _keras.set_optimizer_state(model.optimizer, read_checkpoint(path, model))
