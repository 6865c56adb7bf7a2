"""Files that are whole whenever they are there, and locks between processes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import filelock

from kerasft.export import files
from kerasft.export.files import parse_json, replacing
from kerasft.export.scratch import scratch, take_scratch

__all__ = ["lock", "newest_first", "parse_json", "replacing", "scratch", "take_scratch", "write_text"]


def newest_first(folder: Path, pattern: str) -> list[Path]:
    """List what is in a folder that other processes may write and clear at the same time.

    What goes while the folder is read is left out, and so is a folder that is gone.

    Args:
        folder: The folder.
        pattern: As in `Path.glob`.

    Returns:
        The paths that match, by the time of their last change, the newest first; those of one time by name.

    Example:
        >>> newest_first(Path("no such folder"), "*.json")
        []
    """
    paths: list[Path] = []
    for _ in range(100):  # a folder that goes while it is read ends the listing, which begins again
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            paths = list(folder.glob(pattern))
            break
    found = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found.append((-path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(found)]


def write_text(path: str | os.PathLike[str], text: str, *, durable: bool = False) -> None:
    """Write a text file beside its name and rename it; folders that are missing are made.

    Args:
        path: The file; one that exists is replaced.
        text: Its content, stored as UTF-8.
        durable: Whether it has to survive a power cut.

    Raises:
        OSError: It can't be written; then the old file is untouched, and no part of the new one stays.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_text(f"{folder}/a/b.txt", "text")
        ...     Path(f"{folder}/a/b.txt").read_text()
        'text'
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(target, text, durable=durable)


@contextlib.contextmanager
def lock(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a folder for this process alone; one that is killed lets go by itself.

    Args:
        folder: The folder, made if it is missing; the lock is a file in it.
        wait: Whether to wait for a process that holds it.

    Raises:
        RuntimeError: Another process holds it, and `wait` is off.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held = filelock.FileLock(folder / "lock", timeout=-1 if wait else 0)
    try:
        held.acquire()
    except filelock.Timeout:
        raise RuntimeError(f"Another process is working in {folder}. Wait for it, or end it.") from None
    try:
        yield
    finally:
        held.release()
