"""Where a job works: a folder that takes its final name when all is done, and can be resumed until then."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasft.files import lock, write_text
from kerasft.identity import as_stored, require_same


@dataclass(frozen=True)
class Workspace:
    """The folders of a job that runs.

    Attributes:
        results: What becomes the job's folder.
        state: What a resumed job needs, such as backups; deleted at the end.
        scratch: What a resumed job can use and does not need; deleted at the end.
        resumed: Whether an earlier process has begun the job.
    """

    results: Path
    state: Path
    scratch: Path
    resumed: bool


@contextlib.contextmanager
def workspace(
    out: Path,
    identity: Mapping[str, Any],
    overwrite: bool = False,
    resume: bool = False,
    unnamed: Mapping[str, Any] | None = None,
) -> Iterator[Workspace]:
    """Work on `out`, which appears when the block ends without an error, whole.

    A job that breaks off leaves `.NAME.unfinished` beside `out` if it has saved something in a folder in
    `state`, and nothing otherwise.

    Args:
        out: The folder to be made.
        identity: What the job is, for JSON; a resumed job must be the same.
        overwrite: Whether `out` may be replaced, and an unfinished job of it discarded.
        resume: Whether to go on with an unfinished job.
        unnamed: What a job had whose identity does not name it.

    Yields:
        The folders to write into.

    Raises:
        FileExistsError: `out` is in use, or there is an unfinished job of it.
        FileNotFoundError: There is nothing to resume.
        ValueError: The unfinished job was another one.
        RuntimeError: Another process works on it.
    """
    check_free(out, overwrite, resume)
    work = unfinished(out)
    try:
        with lock(work, wait=False):
            _begin(out, work, identity, resume, unnamed)
            try:
                yield Workspace(work / "results", work / "state", work / "scratch", resume)
                if out.exists():
                    out.replace(work / "old")
                (work / "results").replace(out)
            except BaseException:
                if not is_begun(out):
                    shutil.rmtree(work, ignore_errors=True)
                raise
            shutil.rmtree(work, ignore_errors=True)
    finally:
        with contextlib.suppress(OSError):  # where the lock, being held, could not be deleted with the rest
            work.rmdir()


def _begin(
    out: Path,
    work: Path,
    identity: Mapping[str, Any],
    resume: bool,
    unnamed: Mapping[str, Any] | None,
) -> None:
    """Make the folders of a job, with what an unfinished one has saved if it is resumed."""
    description = work / "job.json"
    if resume:
        begun = f"The unfinished run of {out} was begun"
        advice = "Give what it had to resume it, or begin again with --overwrite and without --resume."
        require_same(json.loads(description.read_text()), identity, begun, advice, unnamed)
    else:
        for path in work.iterdir():
            if path.name != "lock":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(work / "results", ignore_errors=True)
    for name in ("results", "state", "scratch"):
        (work / name).mkdir(exist_ok=True)
    write_text(description, json.dumps(as_stored(identity), indent=1))


def unfinished(out: Path) -> Path:
    """Where a job works until `out` is there."""
    return out.with_name(f".{out.name}.unfinished")


def discard_unfinished(out: Path) -> None:
    """Delete what an earlier job of `out` has left, if it was killed.

    Raises:
        RuntimeError: It was not: another process works on it.
    """
    work = unfinished(out)
    if work.is_dir():
        with lock(work, wait=False):
            shutil.rmtree(work, ignore_errors=True)


def is_begun(out: Path) -> bool:
    """Whether there is an unfinished job of `out` that can be resumed."""
    work = unfinished(out)
    return (work / "job.json").exists() and any((work / "state").glob("*/*"))


def check_free(out: Path, overwrite: bool, resume: bool = False) -> None:
    """Raise unless a job can write `out`: see `workspace`."""
    if out.is_file():
        raise FileExistsError(f"{out} is a file; --out is a folder.")
    in_use, begun = out.is_dir() and any(out.iterdir()), is_begun(out)
    if resume and not begun:
        if in_use:
            raise FileExistsError(
                f"The run of {out} has ended: there is nothing to resume, and its results are there. Pass "
                "--overwrite without --resume to run it again."
            )
        raise FileNotFoundError(f"There is no unfinished run of {out} to resume: begin one without --resume.")
    if in_use and not overwrite:
        raise FileExistsError(f"{out} is in use. Choose another --out, or pass --overwrite to replace it.")
    if begun and not resume and not overwrite:
        raise FileExistsError(
            f"There is an unfinished run of {out}. --resume goes on with it, --overwrite discards it."
        )
