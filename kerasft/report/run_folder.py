"""A run as its folder tells it: what a job has written, of which any part may be missing.

evidence.json is an object with `version`, 1, and sections, each of which is written when it is known:

- `settings`: what the job was given, by name.
- `data`: `kind` ("images" or "texts"), `name`, sizes of the parts, `classes`, `class_counts`, `notes`, and
  `skipped` and `left_out`, each with `count` and some `names`.
- `stages`: `name` and `parameters` of each, from the input on. `phases`: what was planned.
- `optimizer`, `loss`, `versions`: by name.
- `epochs`: for each epoch `rates` and `distance`, a number for each stage; `distance` may be null. `moved`:
  the distances in the end.
- `retention`, optional: `stages`, and `cka` and `distance`, for each epoch a number for each of these stages;
  `cka_in_the_end`, optional: the numbers of `cka` after training.
- `evaluation`: `classes`; `confusion`, rows of [label, label that was named, count]; `wrong`, some samples.
- `search`: `objective`, `accuracy` and `seconds`; `usage`: how to load the files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kerasft.files import parse_json, write_text

EVIDENCE = "evidence.json"
VERSION = 1
_EARLIER = "the run was made by an earlier version of kerasft, which did not store it"
_UNFINISHED = "the run has not ended"


class MissingError(Exception):
    """A part of a run that is not there; the message says why."""


@dataclass(frozen=True)
class Run:
    """What a run's folder holds.

    Attributes:
        name: The folder's name.
        kind: "finetune" or "search".
        finished: Whether the job has ended.
        report: report.json of a job that fine-tunes.
        evidence: evidence.json: what the job stored for its report, by section.
        trials: trials.json of a search.
        problems: What is damaged, or of another version, a sentence each.
        why_missing: Why a section of `evidence` may be missing.
    """

    name: str
    kind: Literal["finetune", "search"]
    finished: bool = True
    report: Mapping[str, Any] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    trials: list[Any] = field(default_factory=list)
    problems: tuple[str, ...] = ()
    why_missing: str = _EARLIER

    def section(self, name: str) -> Any:
        """A section of what the job stored.

        Raises:
            MissingError: It is not there.
        """
        if self.evidence.get(name) is None:
            raise MissingError(self.why_missing)
        return self.evidence[name]

    @property
    def history(self) -> Mapping[str, list[Any]]:
        """The logs of each epoch by name.

        Raises:
            MissingError: There are none.
        """
        found = self.report.get("history")
        if not found:
            raise MissingError("no epoch has ended" if not self.finished else "report.json has no history")
        if not isinstance(found, Mapping) or not all(isinstance(values, list) for values in found.values()):
            raise ValueError("the history of report.json is no list of numbers for each name")
        return found


def read_run(folder: Path) -> Run:
    """Read the folder of a run, or what an unfinished one has left.

    Args:
        folder: What `--out` named.

    Returns:
        What there is; a file that is damaged is named in `problems`, and the rest is there all the same.

    Raises:
        FileNotFoundError: There is no such folder, or it is that of no run.
        ValueError: All that would tell about the run is damaged.
    """
    if (folder / "report.json").is_file():
        return _fine_tuned(folder)
    if (folder / "trials.json").is_file():
        return _searched(folder)
    begun = folder if (folder / "job.json").is_file() else folder.with_name(f".{folder.name}.unfinished")
    if (begun / "job.json").is_file():
        return _unfinished(begun)
    there = sorted(path.name for path in folder.iterdir())[:8] if folder.is_dir() else None
    holds = "There is no such folder" if there is None else f"It holds {', '.join(there) or 'nothing'}"
    raise FileNotFoundError(
        f"{folder} is no run: a folder of `kerasft finetune` has report.json, one of `kerasft search` "
        f"trials.json. {holds}. Give the folder that --out named."
    )


def _fine_tuned(folder: Path) -> Run:
    problems: list[str] = []
    path = folder / "report.json"
    report = _read(path, problems)
    evidence, why = _evidence(folder / EVIDENCE, problems)
    if report is None and not evidence:
        raise ValueError(" ".join(problems))
    if report is not None and not (isinstance(report, dict) and {"phases", "history"} <= report.keys()):
        has = ", ".join(report) if isinstance(report, dict) else f"a {type(report).__name__}"
        raise ValueError(
            f"{path} is no report of a run: it has {has or 'nothing'}, and neither phases nor history. Give "
            "the folder that --out of `kerasft finetune` named."
        )
    return Run(_name(folder), "finetune", True, report or {}, evidence, [], tuple(problems), why)


def _searched(folder: Path) -> Run:
    problems: list[str] = []
    path = folder / "trials.json"
    trials = _read(path, problems)
    evidence, why = _evidence(folder / EVIDENCE, problems)
    if trials is None and not evidence:
        raise ValueError(" ".join(problems))
    if trials is not None and not isinstance(trials, list):
        raise ValueError(
            f"{path} is a list of trials; received {type(trials).__name__}. Make the search again."
        )
    return Run(_name(folder), "search", True, {}, evidence, trials or [], tuple(problems), why)


def _unfinished(begun: Path) -> Run:
    """What a job that runs, or was killed, has stored up to its last epoch."""
    problems: list[str] = []
    job = _read(begun / "job.json", problems)
    evidence, _ = _evidence(begun / "state" / EVIDENCE, problems)
    rows = _read(begun / "state" / "history.json", problems)
    history = {}
    if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
        history = {name: [row.get(name) for row in rows] for name in rows[0]}
    if not evidence and isinstance(job, dict):
        evidence = {"settings": job}
    is_search = isinstance(job, dict) and "tuner" in job
    report = {"history": history}
    if not evidence and not history and problems:
        raise ValueError(" ".join(problems))
    name = begun.name.removeprefix(".").removesuffix(".unfinished")
    kind: Literal["finetune", "search"] = "search" if is_search else "finetune"
    paths = sorted((begun / "state" / "search").glob("trial_*/kerasft.json"), key=lambda p: p.parent.name)
    trials = [found for path in paths if isinstance(found := _read(path, problems), dict)]
    return Run(name, kind, False, report, evidence, trials, tuple(problems), _UNFINISHED)


def _evidence(path: Path, problems: list[str]) -> tuple[dict[str, Any], str]:
    """The sections of evidence.json, and why others are missing."""
    found = _read(path, problems)
    if found is None:
        return {}, f"{EVIDENCE} is damaged" if path.is_file() else _EARLIER
    version = found.get("version") if isinstance(found, dict) else None
    if version != VERSION or isinstance(version, bool):
        problems.append(
            f"{path} has version {version!r}; this kerasft reads version {VERSION}. Make the page with the "
            "kerasft that made the run."
        )
        return {}, f"{EVIDENCE} has another version"
    return found, "the run stored none"


def _read(path: Path, problems: list[str]) -> Any:
    """The content of a JSON file; None where there is none, or where it is damaged, which is noted."""
    try:
        return parse_json(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        return None
    except (UnicodeDecodeError, OSError) as error:
        problems.append(f"{path} can't be read: {error}.")
    except ValueError as error:
        problems.append(str(error))
    return None


def _name(folder: Path) -> str:
    return folder.resolve().name


def write_evidence(path: Path, sections: Mapping[str, Any]) -> None:
    """Write what a job has found out so far.

    Args:
        path: The file.
        sections: By name, for JSON.
    """
    write_text(path, json.dumps({"version": VERSION, **sections}, default=str) + "\n")
