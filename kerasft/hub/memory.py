"""Memory: the few values made last, so that a search does not make the same ones anew in each trial."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """What knows how much memory it takes."""

    @property
    def nbytes(self) -> int:
        """The size in bytes."""


T = TypeVar("T", bound=Sized)


class Memory(Generic[T]):
    """The values used last, no more than a number of them and of bytes; for one process.

    Args:
        entries: How many values are kept.
        nbytes: How much memory they may take together; a larger value is not kept.
    """

    def __init__(self, entries: int, nbytes: int) -> None:
        self.entries = entries
        self.nbytes = nbytes
        self._kept: dict[Hashable, T] = {}  # the one used last stands last
        self._lock = threading.Lock()

    def recall(self, key: Hashable | None, make: Callable[[], T]) -> T:
        """The value of that key; made if it is not kept. What `make` raises is raised, and not kept.

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
            return make()
        with self._lock:
            if key in self._kept:
                value = self._kept[key] = self._kept.pop(key)
                return value
        value = make()
        with self._lock:
            self._kept.pop(key, None)
            if value.nbytes <= self.nbytes:
                self._kept[key] = value
            while len(self._kept) > self.entries or sum(v.nbytes for v in self._kept.values()) > self.nbytes:
                del self._kept[next(iter(self._kept))]
        return value


def fingerprint(folder: str) -> tuple[tuple[str | int, ...], ...] | None:
    """What changes if the SavedModel in a folder is overwritten; its files' contents are not read.

    The inode and the time of the last change (ctime) are part of it, since an archive that is unpacked over
    another may bring the same sizes and the same modification times.

    Args:
        folder: The folder of a SavedModel.

    Returns:
        Path and state of each file that holds its graph or weights; None if there are none on a local disk.
    """
    base = Path(os.path.realpath(folder))
    files = sorted([*base.glob("saved_model.pb*"), *base.glob("variables/*")])
    states = [(str(file), file.stat()) for file in files]
    return tuple((f, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for f, s in states) or None
