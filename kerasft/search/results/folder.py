"""The folder of a search: what search it is, which checkpoints stay, and files that a kill has cut short."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerasft.search.results.tables import (
    TrialRecord,
    ranked,
    read_trial,
    read_trials,
    write_text,
)

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


def repair_search(project: str | Path) -> list[Path]:
    """Mend keras-tuner's own files of a search that was killed while it wrote them.

    keras-tuner writes its state in place; a kill at that moment leaves a file that is no JSON, and the tuner
    can't be made again. Each such file is replaced by the copy that kerasft made before.

    Args:
        project: The search's folder: directory/project_name of the tuner.

    Returns:
        The files that were mended.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: A file is damaged, and there is no copy.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     repair_search(folder)
        []
    """
    folder = SearchFolder(project)
    if not folder.project.is_dir():
        raise FileNotFoundError(f"There is no folder {project}: it is directory/project_name of the tuner.")
    mended = []
    for path in [*folder.project.glob("*.json"), *folder.project.glob("trial_*/trial.json")]:
        try:
            json.loads(path.read_text())
        except ValueError:
            copy = folder.shared / "backup" / path.relative_to(folder.project)
            if copy.exists():
                shutil.copyfile(copy, path)
            elif path.name == "trial.json" and read_trial(path.parent) is None:
                path.unlink()  # of a trial that has not begun
            else:
                raise ValueError(f"{path} is damaged, and there is no copy of it.") from None
            mended.append(path)
    if mended:
        _agree(folder.project)
    return mended


def _agree(project: Path) -> None:
    """Let oracle.json and the trials' files say the same of which trials run."""
    path = project / "oracle.json"
    if not path.exists():
        return
    said = json.loads(path.read_text())
    if "ongoing_trials" not in said:
        return
    status = {
        str(t["trial_id"]): t["status"]
        for t in (json.loads(p.read_text()) for p in project.glob("trial_*/trial.json"))
    }
    over = [t for t, s in status.items() if s in ("COMPLETED", "FAILED")]
    for trial in [t for t in status if t not in said["start_order"]]:
        said["start_order"].append(trial)
        if trial not in over:
            said["retry_queue"].append(trial)
    said["end_order"] += [t for t in sorted(over) if t not in said["end_order"]]
    said["ongoing_trials"] = {
        w: t for w, t in said["ongoing_trials"].items() if t in status and t not in over
    }
    said["start_order"] = [t for t in said["start_order"] if t in status]
    said["retry_queue"] = [t for t in said["retry_queue"] if t in status and t not in over]
    write_text(path, json.dumps(said))


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
