"""JSON files and folders that other processes write, replace or delete while they are read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def read_json(path: Path) -> dict[str, Any] | None:
    """Read an object of a JSON file.

    Args:
        path: The file.

    Returns:
        Its content; None if there is no such file, or none any more.

    Raises:
        ValueError: It holds something else than a JSON object, or one that is nested too deeply.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}.") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged: it holds a {type(found).__name__}, and no JSON object.")
    return found


def trial_folders(project: Path) -> list[Path]:
    """The folders of the trials that are there now, in the order of their numbers.

    Args:
        project: The tuner's `project_dir`; it may be gone.
    """
    names = [name for name in names_in(project) if name.startswith("trial_")]
    return [project / name for name in sorted(names, key=lambda name: trial_order(name[6:]))]


def names_in(folder: Path) -> list[str]:
    """The names of what is in a folder now, sorted; none if the folder is gone."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def trial_order(trial: str) -> tuple[float, str]:
    """What sorts trials by their numbers: keras-tuner's zeros in front depend on how many trials it expects.

    Args:
        trial: A trial's number, as keras-tuner writes it.

    Example:
        >>> sorted(["10", "9", "0"], key=trial_order)
        ['0', '9', '10']
    """
    return (float(trial) if trial.isdecimal() else float("inf"), trial)
