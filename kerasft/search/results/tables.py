"""What the trials of a search have come to: a record in each trial's folder, tables, and which can't win.

The records are files because trials may run in several processes, and later ones go by what earlier ones did.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

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


def write_text(path: Path, text: str) -> None:
    """Write a file that is whole whenever it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{partial_name()}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def partial_name() -> str:
    """What no other process uses in the name of a file, on this machine or another."""
    return f"{socket.gethostname()}-{os.getpid()}"


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


def is_better(a: float, b: float, direction: str) -> bool:
    """Whether value `a` of an objective is better than `b`; one that is no number is not."""
    if math.isnan(a) or math.isnan(b):
        return math.isnan(b) and not math.isnan(a)
    return a > b if direction == "max" else a < b


def best_of(values: Iterable[float], direction: str) -> float:
    """The best of some values; NaN if none is a number."""
    numbers = [v for v in values if not math.isnan(v)]
    if not numbers:
        return math.nan
    return max(numbers) if direction == "max" else min(numbers)


def ranked(records: Iterable[TrialRecord], direction: str) -> list[TrialRecord]:
    """Those with a score, the best first; of equal ones the earlier first."""
    scored = [r for r in records if r.score is not None and not math.isnan(r.score)]
    sign = -1.0 if direction == "max" else 1.0
    return sorted(scored, key=lambda r: (sign * (r.score or 0.0), r.trial))


def cannot_win(
    curve: Sequence[float], others: Sequence[Sequence[float]], direction: str, least: int = 2
) -> bool:
    """Whether a trial would not become the best even with the largest gain that was ever seen from here on.

    Args:
        curve: The objective after each epoch so far.
        others: The curves of trials that ran to their end. The gain of one is from its value at this epoch to
            its best value behind it.
        direction: "max" or "min".
        least: How many of those it takes; with fewer nothing is said.

    Example:
        >>> others = [[0.5, 0.7, 0.8], [0.4, 0.7, 0.75]]
        >>> cannot_win([0.5], others, "max"), cannot_win([0.5, 0.65], others, "max")
        (False, True)
    """
    here, sign = len(curve), 1.0 if direction == "max" else -1.0
    longer = [other for other in others if len(other) > here]
    if len(longer) < least or not curve:
        return False
    gains = [sign * (best_of(other[here:], direction) - other[here - 1]) for other in longer]
    best = best_of((best_of(other, direction) for other in others), direction)
    if math.isnan(curve[-1]) or any(math.isnan(gain) for gain in gains):
        return False
    hope = max(sign * best_of(curve, direction), sign * curve[-1] + max(gains))
    return hope <= sign * best


def own_values(record: TrialRecord) -> dict[str, Any]:
    """A trial's hyperparameters without those that Hyperband adds."""
    return {name: value for name, value in record.values.items() if not name.startswith(_TUNERS_OWN)}


# --- tables --------------------------------------------------------------------------------------------


def rows(records: Iterable[TrialRecord]) -> list[dict[str, Any]]:
    """One flat row for each trial: what it was, what it came to, and its hyperparameters."""
    found = []
    for r in records:
        row = {
            "trial": r.trial, "status": r.status, "score": r.score, "recipe": r.recipe, "depth": r.depth,
            "trains_from": r.trains_from, "epochs": r.epochs, "best_epoch": r.best_epoch,
            "seconds": round(r.seconds, 3), "replayed": r.replayed, "resumed_from": r.resumed_from,
        }  # fmt: skip
        row |= {k: v for k, v in r.metrics.items() if k not in row}
        row |= {f"hp:{k}": v for k, v in own_values(r).items()}
        found.append(row)
    return found


def to_csv(records: Iterable[TrialRecord]) -> str:
    """The rows as CSV with a header; a column that a trial lacks is empty."""
    table = rows(records)
    names = list(dict.fromkeys(name for row in table for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()


def to_json(records: Iterable[TrialRecord]) -> str:
    """The records with their curves as JSON."""
    return json.dumps([asdict(r) for r in records], indent=1, default=str) + "\n"


def table(records: Sequence[TrialRecord], direction: str, title: str = "", most: int | None = None) -> Table:
    """The best trials as a table for `rich`, and behind them those without a score.

    Args:
        records: The trials.
        direction: "max" or "min".
        title: A title.
        most: How many rows at the most; None shows all.
    """
    scored = ranked(records, direction)
    others = [r for r in records if all(r is not s for s in scored)]
    columns = ("trial", "score", "recipe", "trains from", "rate", "decay", "epochs", "seconds", "")
    found = Table(*columns, title=title or None)
    for r in [*scored, *others][:most]:
        rate, decay = r.values.get("learning_rate"), r.values.get("layerwise_decay")
        found.add_row(
            r.trial,
            "" if r.score is None else f"{r.score:.4f}",
            r.recipe.replace("_", " "),
            f"{r.trains_from} ({r.depth})",
            f"{rate:.1e}" if isinstance(rate, float) else "",
            f"{decay:.2f}" if isinstance(decay, float) and r.recipe != "frozen_head" else "",
            str(r.epochs),
            f"{r.seconds:.1f}",
            {"completed": "", "stopped": "stopped"}.get(r.status, r.status),
        )
    return found


def text_of(found: Table) -> str:
    """A table as plain text."""
    console = Console(file=io.StringIO(), width=110, color_system=None)
    console.print(found)
    return str(console.file.getvalue()).rstrip()  # type: ignore[attr-defined]
