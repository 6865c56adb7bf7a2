"""Write beside the final name and rename: a reader sees the old file or the new one, never a part."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its name when the block ends without an error.

    Args:
        path: The file or folder to be made.
        overwrite: Whether an existing one may be replaced; it stays until the new one is whole.

    Yields:
        A path that does not exist yet, in the same folder.

    Raises:
        FileNotFoundError: The folder that would hold `path` does not exist.
        FileExistsError: `path` exists, and `overwrite` is off.
        OSError: The disk is full, among others; nothing is left behind and the old file is untouched.
    """
    target = Path(path)
    check_target(target, overwrite=overwrite)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    _remove(partial)
    try:
        yield partial
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
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(
                errno.ENOSPC,
                f"The disk is full: {target} could not be written. Nothing was left behind; free some space "
                "or choose another place",
                str(target),
            ) from error
        raise
    finally:
        _remove(partial)


def check_target(path: Path, *, overwrite: bool) -> None:
    """Raise unless `path` can be written."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {path.parent}. Make it first, or choose another path.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists. Pass overwrite=True to replace it, or choose another path.")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
