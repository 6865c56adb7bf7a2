"""Repair keras-tuner's files after a kill."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from kerasft.files import write_text
from kerasft.search.results.folder import SearchFolder
from kerasft.search.results.json_file import read_json, trial_folders
from kerasft.search.results.record import read_trial


def repair_search(project: str | Path) -> list[Path]:
    """Repair keras-tuner's own files of a search that was killed while it wrote them.

    keras-tuner writes its state in place; a kill at that moment leaves a file that is no JSON, and the tuner
    can't be made again. Each such file is replaced by the copy that kerasft made before.

    Args:
        project: The search's folder: directory/project_name of the tuner.

    Returns:
        The files that were repaired.

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
    repaired = []
    for path in folder.tuner_files():
        try:
            read_json(path)
        except ValueError:
            copy = folder.shared / "backup" / path.relative_to(folder.project)
            if copy.exists():
                shutil.copyfile(copy, path)
            elif path.name == "trial.json" and read_trial(path.parent) is None:
                path.unlink()  # of a trial that has not begun
            else:
                raise ValueError(f"{path} is damaged, and there is no copy of it.") from None
            repaired.append(path)
    if repaired:
        _agree(folder.project)
    return repaired


def _agree(project: Path) -> None:
    """Make oracle.json agree with the trials' files about which trials run."""
    path = project / "oracle.json"
    state = read_json(path)
    if state is None or "ongoing_trials" not in state:
        return
    trials = [read_json(folder / "trial.json") for folder in trial_folders(project)]
    status = {str(t["trial_id"]): t["status"] for t in trials if t is not None}
    over = [t for t, s in status.items() if s in ("COMPLETED", "FAILED")]
    for trial in [t for t in status if t not in state["start_order"]]:
        state["start_order"].append(trial)
        if trial not in over:
            state["retry_queue"].append(trial)
    state["end_order"] += [t for t in sorted(over) if t not in state["end_order"]]
    state["ongoing_trials"] = {
        w: t for w, t in state["ongoing_trials"].items() if t in status and t not in over
    }
    state["start_order"] = [t for t in state["start_order"] if t in status]
    state["retry_queue"] = [t for t in state["retry_queue"] if t in status and t not in over]
    write_text(path, json.dumps(state))
