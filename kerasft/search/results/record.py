"""The result record of a trial, a file in the trial's folder."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from kerasft.files import write_text
from kerasft.search.results.json_file import read_json, trial_folders

logger = logging.getLogger(__name__)

_FILE = "kerasft.json"
_TUNERS_OWN = "tuner/"  # how names of values begin that Hyperband adds


@dataclass(frozen=True)
class TrialRecord:
    """The result record of one trial of a search.

    Attributes:
        trial: Its number, as keras-tuner writes it.
        values: Its hyperparameters, fixed ones included.
        recipe: How it got to its freeze depth.
        depth: Its freeze depth, a number of stages.
        trains_from: The first stage that trained in the end.
        status: "completed", "stopped" (it was unlikely to become the best), or "failed".
        score: The objective at its best epoch, on average over its executions; None if there is none.
        curve: The objective after each epoch of the last execution, if it is logged.
        depths: The freeze depth in each of these epochs.
        best_epoch: The epoch, from 0, of the best value in `curve`.
        metrics: All that was logged in that epoch, or measured after the last one.
        epochs: How many epochs it ran.
        seconds: The time from the built model to the score.
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
    depths: list[int] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Put it into the trial's folder, whole or not at all."""
        write_text(folder / _FILE, json.dumps(asdict(self), indent=1, default=str))


def read_trial(folder: Path) -> TrialRecord | None:
    """Read the result record in a trial's folder; None if the trial has not ended, or the record is damaged.

    A damaged one is named in a warning: a search goes on without it.
    """
    try:
        content = read_json(folder / _FILE)
        if content is None:
            return None
        if not isinstance(content.get("score"), int | float | None):
            raise ValueError(f"{folder / _FILE} is damaged: its score is {content['score']!r}.")
        known = {f.name for f in fields(TrialRecord)}
        return TrialRecord(**{name: value for name, value in content.items() if name in known})
    except (OSError, TypeError, ValueError) as error:
        logger.warning("The record of a trial is left out: %s", error)
        return None


def read_trials(project: Path) -> list[TrialRecord]:
    """Read the result records of the trials that have ended, in the order of their numbers."""
    found = (read_trial(folder) for folder in trial_folders(project))
    return [record for record in found if record is not None]


def averaged(record: TrialRecord, before: TrialRecord | None) -> TrialRecord:
    """Add the scores of a trial's earlier executions to the result record of its last one.

    Args:
        record: What the last execution achieved.
        before: The record of the execution before it, with the scores of all so far; None if there was none.

    Returns:
        The record, whose score is the average over executions.

    Example:
        >>> first = averaged(TrialRecord("0", {}, score=0.5), None)
        >>> averaged(TrialRecord("0", {}, score=0.75), first).score
        0.625
    """
    scores = [math.nan if record.score is None else record.score]
    if before is None:
        return replace(record, scores=scores)
    scores = [*before.scores, *scores]
    return replace(record, scores=scores, score=sum(scores) / len(scores))


def own_values(record: TrialRecord) -> dict[str, Any]:
    """A trial's hyperparameters without those that Hyperband adds."""
    return {name: value for name, value in record.values.items() if not name.startswith(_TUNERS_OWN)}
