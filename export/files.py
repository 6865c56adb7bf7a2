"""Write beside the final name and rename: a reader sees the old file or the new one, never a part."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

# Names that this process writes at the moment, so that its threads do not clear up after each other.
_in_use: set[str] = set()
_numbers = itertools.count()


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, overwrite: bool, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its name when the block ends without an error.

    A process that is killed inside the block leaves the old file, and a partial one named
    `.NAME.HOST-PID-N.partial`, with the suffixes of `path` after it, which the next call on that host clears
    away. A folder can't be replaced in one step: killed between two renames, the old one is left under such a
    name with `old` in it, and the next call gives it its name again.

    Args:
        path: The file or folder to be made.
        overwrite: Whether an existing one may be replaced; it stays until the new one is whole.
        durable: Whether it has to survive a power cut: its contents reach the disk before it gets its name,
            and its name before the block is left.

    Yields:
        A path that does not exist yet, in the same folder.

    Raises:
        FileNotFoundError: The folder that would hold `path` does not exist.
        FileExistsError: `path` exists, and `overwrite` is off.
        OSError: The disk is full, or the file is in use, among others; nothing is left behind and the old
            file is untouched.
    """
    target = Path(path)
    check_target(target, overwrite=overwrite)
    owner = f".{target.name}.{socket.gethostname()}-{os.getpid()}-{next(_numbers)}"
    partial, old = (target.with_name(f"{owner}.{kind}{_suffixes(target)}") for kind in ("partial", "old"))
    _in_use.update((partial.name, old.name))
    try:
        yield partial
        _check_kind(partial, target)
        if durable:
            _sync(partial)
        if target.is_dir():  # a folder can't be replaced in one step
            target.replace(old)
            try:
                partial.replace(target)
            except BaseException:
                old.replace(target)
                raise
            _remove(old)
        else:
            partial.replace(target)
        if durable:
            _sync_entry(target.parent)
    except Exception as error:
        if out_of_space(error) is not None:
            raise say_full(error, partial, "Or choose another place", target) from error
        advice = _advice(error, target) if isinstance(error, OSError) else None
        if advice is None:
            raise
        raise OSError(error.errno, advice, str(target)) from error  # type: ignore[attr-defined]
    finally:
        _remove(partial)
        _in_use.difference_update((partial.name, old.name))


def write_text(path: str | os.PathLike[str], text: str, *, durable: bool = False) -> None:
    """Write a text file in UTF-8 as `replacing` does, in place of an older one."""
    with replacing(path, overwrite=True, durable=durable) as partial:
        partial.write_text(text, encoding="utf-8")


def parse_json(text: str | bytes, what: str) -> Any:
    """Read JSON that somebody may have written by hand, or damaged.

    Args:
        text: The JSON.
        what: What it is, for messages, such as "The schedule".

    Raises:
        ValueError: It is no JSON, has a key twice (of which a reader would drop one), or is nested too
            deeply to be read.

    Example:
        >>> parse_json('{"a": 1, "a": 2}', "The schedule")
        Traceback (most recent call last):
        ValueError: The schedule has the key 'a' twice in one object. Leave one.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise _TwiceError(key)
            found[key] = value
        return found

    try:
        return json.loads(text, object_pairs_hook=unique)
    except _TwiceError as error:
        raise ValueError(f"{what} has the key {str(error)!r} twice in one object. Leave one.") from None
    except ValueError as error:
        raise ValueError(f"{what} is not valid JSON: {error}") from None
    except RecursionError:
        raise ValueError(f"{what} is nested too deeply to be read.") from None


@contextlib.contextmanager
def taking_apart(what: str) -> Iterator[None]:
    """Raise ValueError where JSON that was read lacks a part, or has one in another form.

    Args:
        what: What it is, for the message, such as "The report".
    """
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{what} lacks something, or has it in another form: {error!r}") from error


class _TwiceError(Exception):
    """A key that an object has twice."""


def _check_kind(partial: Path, target: Path) -> None:
    """Raise unless a file replaces a file, and a folder a folder, which may hold files of the user's."""
    if target.is_dir() and not partial.is_dir():
        raise IsADirectoryError(errno.EISDIR, "It is a folder, and a file was to be written", str(target))
    if target.exists() and partial.is_dir() and not target.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "It is a file, and a folder was to be written", str(target))


def check_target(path: Path, *, overwrite: bool) -> None:
    """Raise unless `path` can be written; first clear up what killed processes left beside it."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {path.parent}. Make it first, or choose another path.")
    _clear(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists. Pass overwrite=True to replace it, or choose another path.")


def _clear(target: Path) -> None:
    """Remove what processes of this host that no longer run left of `target`.

    An old folder gets its name back. Names without a host are those of earlier versions.
    """
    name, suffixes = re.escape(target.name), re.escape(_suffixes(target))
    host = re.escape(socket.gethostname())
    ours = re.compile(rf"\.{name}\.(?:{host}-(\d+)-\d+\.(partial|old){suffixes}|(\d+)\.(partial|old))")
    for path in list(target.parent.iterdir()):
        match = ours.fullmatch(path.name)
        if match is None or path.name in _in_use or _runs_elsewhere(int(match[1] or match[3])):
            continue
        with contextlib.suppress(OSError):  # another process may be clearing up as well
            if "old" in (match[2], match[4]) and not target.exists():
                path.replace(target)
            else:
                _remove(path)


def _suffixes(target: Path) -> str:
    return "".join(target.suffixes)


def _runs_elsewhere(pid: int) -> bool:
    """Whether another process of this host has this number."""
    return pid != os.getpid() and pid < 2**31 and psutil.pid_exists(pid)


def _sync(path: Path) -> None:
    """Bring a file, or a folder with all that is in it, to the disk."""
    for inner in (*path.rglob("*"), path):
        if inner.is_file():
            with inner.open("rb+") as file:
                os.fsync(file)
        else:
            _sync_entry(inner)


def _sync_entry(folder: Path) -> None:
    """Bring a folder's list of names to the disk, where the platform can."""
    if os.name == "nt":
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def out_of_space(error: BaseException) -> int | None:
    """The number of an error that says that a disk, a quota or the largest file is full; None for another.

    TensorFlow and HDF5 raise errors of their own, which hold the system's words.
    """
    for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        if isinstance(error, OSError) and error.errno == code:
            return code
        if not isinstance(error, ValueError | TypeError | KeyError) and os.strerror(code) in str(error):
            return code
    return None


def say_full(error: BaseException, partial: Path, advice: str, target: Path | None = None) -> OSError:
    """The error to raise for one that is `out_of_space`: what was written, what is free, and what to do.

    Args:
        error: What was raised.
        partial: The file or folder that was being written.
        advice: What to do if no space can be freed.
        target: The name that it was to get.
    """
    code = out_of_space(error) or errno.ENOSPC
    files = [path for path in (partial, *partial.rglob("*")) if path.is_file()]
    written, free = sum(path.stat().st_size for path in files), shutil.disk_usage(partial.parent).free
    limit = "No file there may be so large" if code == errno.EFBIG else "The disk is full"
    return OSError(
        code,
        f"{limit}: {target or partial} could not be written. It needs more than the {written:,} bytes that "
        f"were written; {free:,} bytes are free besides. Nothing was left behind; free some space. {advice}",
        str(target or partial),
    )


def _advice(error: OSError, target: Path) -> str | None:
    if isinstance(error, PermissionError) and target.name in str(error.filename or target):
        return (
            f"{target} can't be written ({error.strerror}). Nothing was changed: close what has it open, "
            "check that you may write into its folder, or choose another path"
        )
    return None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
