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
from kerasft.search.results.json_file import names_in, read_json, trial_folders
from kerasft.search.results.ranking import best_with_ties
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

    def identity(self) -> dict[str, Any]:
        """What was noted of which search this is; empty for a new one.

        Raises:
            FatalValueError: The note is damaged.
        """
        try:
            return read_json(self.shared / "search.json") or {}
        except ValueError as error:
            raise keras_tuner.errors.FatalValueError(
                f"{error} It says which search this folder holds. Delete it if you know that it is this one, "
                "and it is written again; or begin a new search: overwrite=True, or another project_name."
            ) from None

    def check_identity(self, now: Mapping[str, Any]) -> None:
        """Note which search this is; in a folder that holds one, check that it is the same.

        Args:
            now: What identifies the search, for JSON. What is not known yet is left out, and noted later.

        Raises:
            FatalValueError: It differs from what was noted; the message names what, and how.
        """
        path = self.shared / "search.json"
        then = self.identity()
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
            keep: How many stay; those of trials that are as good as the last of them stay as well.
            direction: The objective's: "max" or "min".
            current: The trial that has just ended.
            parallel: Whether others run at the same time, whose brackets of Hyperband may still need theirs.
        """
        records = read_trials(self.project)
        best = {r.trial for r in best_with_ties(records, direction, keep)}
        continued = {r.resumed_from for r in records}
        for record in records:
            bracket = record.values.get("tuner/bracket", 0)
            same = parallel or bracket == current.values.get("tuner/bracket", 0)
            promotable = same and record.values.get("tuner/round", 0) < bracket
            if record.trial in continued or not promotable:
                _delete(self.trial(record.trial) / STATE)
            if record.trial not in best:
                _delete(self.trial(record.trial) / CHECKPOINT)

    def back_up(self) -> None:
        """Copy keras-tuner's own files, which it does not write in one go; those that are whole."""
        for path in self.tuner_files():
            with contextlib.suppress(OSError, ValueError, RecursionError):
                text = path.read_text()
                json.loads(text)
                copy = self.shared / "backup" / path.relative_to(self.project)
                if not copy.exists() or copy.read_text() != text:
                    write_text(copy, text)

    def tuner_files(self) -> list[Path]:
        """keras-tuner's own JSON files that are there now; others may write and delete them meanwhile."""
        own = [self.project / name for name in names_in(self.project) if name.endswith(".json")]
        return [*own, *(p for f in trial_folders(self.project) if (p := f / "trial.json").is_file())]


def _delete(path: Path) -> None:
    """Delete a file that nobody needs; one that is gone, or is in use by others, is no reason to stop."""
    with contextlib.suppress(OSError):
        path.unlink()
