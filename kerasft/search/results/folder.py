"""The folder of a search: what search it is, which checkpoints stay, and files that a kill has cut short."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras_tuner

from kerasft.files import write_text
from kerasft.identity import as_stored, require_same
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
        """Note which search this is; in a folder that holds one, check that it is the same.

        Args:
            now: What identifies the search, for JSON. What is not known yet is left out, and noted later.

        Raises:
            FatalValueError: It differs from what was noted; the message names what, and how.
        """
        path = self.shared / "search.json"
        then = json.loads(path.read_text()) if path.exists() else {}
        if isinstance(model := then.get("model"), dict):
            model.pop("stages", None)  # names, in files of earlier versions
        advice = "Go on with what it had, or begin a new one: overwrite=True, or another project_name."
        try:
            require_same(then, now, f"The search in {self.project} was begun", advice)
        except ValueError as error:
            raise keras_tuner.errors.FatalValueError(str(error)) from None
        if new := {name: value for name, value in as_stored(now).items() if name not in then}:
            write_text(path, json.dumps({**then, **new}, indent=1))

    def sweep(self, keep: int, direction: str, current: TrialRecord, parallel: bool) -> None:
        """Delete the checkpoints of all but the best trials, and the states that no later trial can continue.

        Args:
            keep: How many stay.
            direction: The objective's: "max" or "min".
            current: The trial that has just ended.
            parallel: Whether others run at the same time, whose brackets of Hyperband may still need theirs.
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
