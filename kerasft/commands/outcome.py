"""What the commands that train have made."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kerasft.cache import CacheReport
from kerasft.search import (
    TrialRecord,
    ranked,
)
from kerasft.stages import Stages
from kerasft.unfreezing import UnfreezingSchedule


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
