"""Write beside the final name and rename: a reader sees the old file or the new one, never a part."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its name when the block ends without an error.

    A process that is killed inside the block leaves the old file, and a partial one named
    `.NAME.PID.partial` which the next call clears away. A folder can't be replaced in one step: killed
    between two renames, the old one is left as `.NAME.PID.old`, and the next call gives it its name again.

    Args:
        path: The file or folder to be made.
        overwrite: Whether an existing one may be replaced; it stays until the new one is whole.

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
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    try:
        yield partial
        if target.is_dir() and partial.is_dir():  # a folder can't be replaced in one step
            target.replace(old)
            try:
                partial.replace(target)
            except BaseException:
                old.replace(target)
                raise
            _remove(old)
        else:
            partial.replace(target)
    except OSError as error:
        said = _advice(error, target)
        if said is None:
            raise
        raise OSError(error.errno, said, str(target)) from error
    finally:
        _remove(partial)


def check_target(path: Path, *, overwrite: bool) -> None:
    """Raise unless `path` can be written; first clear up what killed processes left beside it."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {path.parent}. Make it first, or choose another path.")
    _clear(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists. Pass overwrite=True to replace it, or choose another path.")


def _clear(target: Path) -> None:
    """Remove what processes that no longer run left of `target`; an old folder gets its name back."""
    ours = re.compile(rf"\.{re.escape(target.name)}\.(\d+)\.(partial|old)")
    left = [(p, match) for p in target.parent.iterdir() if (match := ours.fullmatch(p.name))]
    for path, match in left:
        if _runs(int(match[1])):
            continue
        with contextlib.suppress(OSError):  # another process may be clearing up as well
            if match[2] == "old" and not target.exists():
                path.replace(target)
            else:
                _remove(path)


def _runs(pid: int) -> bool:
    """Whether another process has this number; this one leaves nothing that it still needs."""
    if pid == os.getpid():
        return False
    if os.name == "nt":  # os.kill would end it
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _advice(error: OSError, target: Path) -> str | None:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk is full: {target} could not be written. Nothing was left behind; free some space "
            "or choose another place"
        )
    if isinstance(error, PermissionError) and target.name in str(error.filename or target):
        return (
            f"{target} can't be written ({error.strerror}). Nothing was changed: close what has it open, "
            "see to it that you may write into its folder, or choose another path"
        )
    return None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
