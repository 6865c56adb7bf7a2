"""The folder of a search: what search it is, which checkpoints stay, and files that a kill has cut short."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerasft.search.results.files import write_text
from kerasft.search.results.ranking import ranked
from kerasft.search.results.record import TrialRecord, read_trials

CHECKPOINT = "checkpoint.weights.h5"  # keras-tuner's name


STATE = "state.h5"


class SearchFolder:
    """keras-tuner's project folder, and what kerasft puts into it: `kerasft/`, and files in trials' folders.

    Args:
        project: The tuner's `project_dir`.
    """

    def __init__(self, project: str | Path) -> None:
        self.project = Path(project)
        self.shared = self.project / "kerasft"

    def trial(self, trial: str) -> Path:
        """The folder of a trial."""
        return self.project / f"trial_{trial}"

    def check_identity(self, now: Mapping[str, Any]) -> None:
        """Note what search this is; in a folder that has one, see whether it is the same.

        Args:
            now: For JSON. What is not known yet is left out, and noted when it is.

        Raises:
            ValueError: It differs from what was noted; the message names what, and how.
        """
        path = self.shared / "search.json"
        said = json.loads(json.dumps(now, default=str))
        then = json.loads(path.read_text()) if path.exists() else {}
        for what, value in said.items():
            if what in then and then[what] != value:
                raise ValueError(
                    f"The search in {self.project} was begun with another {what.replace('_', ' ')}: "
                    f"{_difference(then[what], value)}. Go on with what it had, or begin a new one: "
                    "overwrite=True, or another project_name."
                )
        if merged := {k: v for k, v in said.items() if k not in then}:
            write_text(path, json.dumps({**then, **merged}, indent=1))

    def sweep(self, keep: int, direction: str, current: TrialRecord, parallel: bool) -> None:
        """Delete the checkpoints of all but the best trials, and what no later trial can go on from.

        Args:
            keep: How many stay.
            direction: Of the objective: "max" or "min".
            current: The trial that has just ended.
            parallel: Whether others run beside it, whose brackets of Hyperband may still need theirs.
        """
        records = read_trials(self.project)
        best = {r.trial for r in ranked(records, direction)[:keep]}
        continued = {r.resumed_from for r in records}
        for record in records:
            bracket = record.values.get("tuner/bracket", 0)
            same = parallel or bracket == current.values.get("tuner/bracket", 0)
            promotable = same and record.values.get("tuner/round", 0) < bracket
            if record.trial in continued or not promotable:
                (self.trial(record.trial) / STATE).unlink(missing_ok=True)
            if record.trial not in best:
                (self.trial(record.trial) / CHECKPOINT).unlink(missing_ok=True)

    def back_up(self) -> None:
        """Copy keras-tuner's own files, which it does not write in one go; those that are whole."""
        for path in [*self.project.glob("*.json"), *self.project.glob("trial_*/trial.json")]:
            with contextlib.suppress(OSError, ValueError):
                text = path.read_text()
                json.loads(text)
                copy = self.shared / "backup" / path.relative_to(self.project)
                if not copy.exists() or copy.read_text() != text:
                    write_text(copy, text)


def _difference(then: Any, now: Any) -> str:
    """What differs, as short as can be."""
    if isinstance(then, dict) and isinstance(now, dict):
        names = [n for n in {**then, **now} if then.get(n) != now.get(n)]
        parts = []
        for name in names:
            if name not in now:
                parts.append(f"{name} is gone (it was {_short(then[name])})")
            elif name not in then:
                parts.append(f"{name} is new ({_short(now[name])})")
            else:
                parts.append(f"{name} was {_short(then[name])} and is {_short(now[name])}")
        return "; ".join(parts)
    return f"it was {_short(then)} and is {_short(now)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
