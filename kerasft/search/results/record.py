"""The result record of a trial, a file in the trial's folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kerasft.search.results.files import write_text

_FILE = "kerasft.json"


_TUNERS_OWN = "tuner/"  # how names of values begin that Hyperband adds


@dataclass(frozen=True)
class TrialRecord:
    """One trial of a search.

    Attributes:
        trial: Its number, as keras-tuner writes it.
        values: Its hyperparameters, fixed ones included.
        recipe: How it came down to its freeze depth.
        depth: That depth, a number of stages.
        trains_from: The first stage that trained in the end.
        status: "completed", "stopped" (it could not have become the best any more), or "failed".
        score: The objective at its best epoch, on average over its executions; None if there is none.
        curve: The objective after each epoch of the last execution, if it is logged.
        best_epoch: The epoch, from 0, of the best value in `curve`.
        metrics: All that was logged in that epoch, or measured behind the last one.
        epochs: How many epochs it ran.
        seconds: From the model that was built to the score.
        replayed: How many of its epochs were trained from a record of frozen work.
        resumed_from: The trial whose training it continued, if it did.
        reason: Why it was stopped or failed; a traceback, say.
        scores: The score of each execution.
        schedule: Its `UnfreezingSchedule`, as a dict.
    """

    trial: str
    values: dict[str, Any]
    recipe: str = ""
    depth: int = 0
    trains_from: str = ""
    status: str = "completed"
    score: float | None = None
    curve: list[float] = field(default_factory=list)
    best_epoch: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    epochs: int = 0
    seconds: float = 0.0
    replayed: int = 0
    resumed_from: str | None = None
    reason: str = ""
    scores: list[float] = field(default_factory=list)
    schedule: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Put it into the trial's folder, whole or not at all."""
        write_text(folder / _FILE, json.dumps(asdict(self), indent=1, default=str))


def read_trial(folder: Path) -> TrialRecord | None:
    """The record in a trial's folder; None if the trial has not come to an end."""
    try:
        return TrialRecord(**json.loads((folder / _FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def read_trials(project: Path) -> list[TrialRecord]:
    """The trials of a search that have come to an end, in the order of their numbers."""
    found = (read_trial(folder) for folder in sorted(project.glob("trial_*")))
    return [record for record in found if record is not None]


def own_values(record: TrialRecord) -> dict[str, Any]:
    """A trial's hyperparameters without those that Hyperband adds."""
    return {name: value for name, value in record.values.items() if not name.startswith(_TUNERS_OWN)}
