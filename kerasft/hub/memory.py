"""Memory: the few values used last, so that a search does not make the same ones again in each trial."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import cachetools


class Sized(Protocol):
    """A value that knows how much memory it takes."""

    @property
    def nbytes(self) -> int:
        """The size in bytes."""


T = TypeVar("T", bound=Sized)


class Memory(Generic[T]):
    """The values used last, up to a number of them and of bytes; for one process and all its threads.

    Args:
        entries: How many values are kept.
        nbytes: How much memory they may take together; a larger value is not kept.

    Attributes:
        made: How many values have been made so far.
    """

    def __init__(self, entries: int, nbytes: int) -> None:
        self.entries = entries
        self.nbytes = nbytes
        self.made = 0
        self._kept: cachetools.LRUCache[Hashable, T] = cachetools.LRUCache(nbytes, lambda value: value.nbytes)
        self._lock = threading.Lock()

    def recall(self, key: Hashable | None, make: Callable[[], T]) -> T:
        """Return the value of a key, made if it is not kept. An error of `make` is raised, and not kept.

        Args:
            key: All that the value depends on; None makes it in any case.
            make: Makes the value.

        Example:
            >>> import numpy as np
            >>> memory = Memory(entries=2, nbytes=100)
            >>> first = memory.recall("a", lambda: np.zeros(10))
            >>> memory.recall("a", lambda: np.zeros(10)) is first
            True
        """
        if key is None:
            return self._make(make)
        with self._lock:
            if key in self._kept:
                return self._kept[key]
        value = self._make(make)
        with self._lock:
            if value.nbytes <= self.nbytes:
                self._kept[key] = value
            while len(self._kept) > self.entries:
                self._kept.popitem()
        return value

    def clear(self) -> None:
        """Keep nothing of what was made so far."""
        with self._lock:
            self._kept.clear()

    def _make(self, make: Callable[[], T]) -> T:
        value = make()
        with self._lock:
            self.made += 1
        return value


def folder_fingerprint(folder: str) -> tuple[tuple[str | int, ...], ...] | None:
    """Return a value that changes if the SavedModel in a folder is overwritten, without reading its files.

    The inode and the time of the last change (ctime) are part of it, since an archive that is unpacked over
    another may bring the same sizes and the same modification times.

    Args:
        folder: The folder of a SavedModel.

    Returns:
        Path and state of each file that holds its graph, weights or assets; None if none is on a local disk.
    """
    base = Path(os.path.realpath(folder))
    files = sorted(f for part in ("saved_model.pb*", "variables/*", "assets/**/*") for f in base.glob(part))
    try:
        states = [(str(file), file.stat()) for file in files]
    except FileNotFoundError:  # another process writes it anew
        return None
    return tuple((f, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for f, s in states) or None
