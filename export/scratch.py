"""Temporary folders that a killed process does not leave for good: the next one that needs any clears them.

They lie in a folder of the user's own in the system's temporary folder. A process holds a lock on each of its
folders while it lives, whatever its number; a folder whose lock is free has lost its owner.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock

from .files import out_of_space, say_full

_LOCK = "owner.lock"


def take_scratch() -> tuple[Path, Callable[[], None]]:
    """A new temporary folder for this process, and the function that deletes it.

    Raises:
        OSError: It can't be made.

    Example:
        >>> folder, give_back = take_scratch()
        >>> give_back()
        >>> folder.exists()
        False
    """
    home = _home()
    if home is None:  # somebody else has the name: a folder without a lock is better than none
        folder = Path(tempfile.mkdtemp(prefix="kerasft-"))
        return folder, lambda: shutil.rmtree(folder, ignore_errors=True)
    with filelock.FileLock(home / "lock"):  # so that no folder is seen before its lock is held
        _sweep(home)
        whole = Path(tempfile.mkdtemp(dir=home))
        held = filelock.FileLock(whole / _LOCK)
        held.acquire()
    folder = whole / "files"
    folder.mkdir()

    def give_back() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        held.release()
        shutil.rmtree(whole, ignore_errors=True)

    return folder, give_back


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder for the block.

    Raises:
        OSError: The disk that holds it is full; the message says what to do.
    """
    folder, give_back = take_scratch()
    try:
        yield folder
    except Exception as error:
        if out_of_space(error) is not None and str(folder) in str(error):
            raise say_full(error, folder, "Or set the variable TMPDIR to a folder with more space") from error
        raise
    finally:
        give_back()


def _home() -> Path | None:
    """The folder for this user's temporary folders; None if its name belongs to somebody else."""
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
    home = Path(tempfile.gettempdir()) / f"kerasft-{user}"
    with contextlib.suppress(FileExistsError):
        home.mkdir(mode=0o700)
    found = home.lstat()
    own = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    return home if stat.S_ISDIR(found.st_mode) and own else None


def _sweep(home: Path) -> None:
    """Delete the folders whose owners are gone; the lock of `home` is held."""
    for whole in home.iterdir():
        if not whole.is_dir() or whole.is_symlink():
            continue
        lock = filelock.FileLock(whole / _LOCK, timeout=0)
        with contextlib.suppress(filelock.Timeout, OSError):
            lock.acquire()
            lock.release()
            shutil.rmtree(whole, ignore_errors=True)
