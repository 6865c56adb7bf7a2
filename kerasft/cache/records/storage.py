"""Tables of rows that grow, in memory or on disk, under a cap."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import socket
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil

from kerasft.cache.records.table import StorageError, Table
from kerasft.files import newest_first, take_scratch


class Storage:
    """Where the tables of a run are, under a cap.

    Args:
        folder: A folder for all of them; None keeps them in memory, and moves those beyond the cap into a
            temporary folder if `spill` is on.
        max_bytes: The cap: of memory, or of the folder.
        spill: Whether tables beyond the cap go to disk.
    """

    def __init__(self, folder: Path | None, max_bytes: int, spill: bool) -> None:
        self.folder, self.max_bytes, self.spill = folder, max_bytes, spill
        self.peak_bytes = 0
        self._tables: list[Table] = []
        self._scratch: Path | None = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            _sweep(folder)

    def table(self) -> Table:
        """A new table."""
        table = Table(None if self.folder is None else self._new_folder())
        self._tables.append(table)
        return table

    def append(self, table: Table, arrays: Sequence[np.ndarray]) -> None:
        """Add rows to a table, within the cap.

        Raises:
            StorageError: They don't fit, or the disk is full.
        """
        more = sum(a.nbytes for a in arrays)
        try:
            if table.in_memory and self.spill and self.bytes_in_memory + more > self.max_bytes:
                table.move_to(self._new_folder())
            self.check_room(more, "a batch")
            table.append(arrays)
        except OSError as error:
            raise StorageError(f"The record can't be written: {error}.") from None
        self.peak_bytes = max(self.peak_bytes, self.bytes_in_memory)

    def check_room(self, more: int, what: str) -> None:
        """Raise StorageError if there is no room for some more bytes; `what` names what has them."""
        if not self.spill and self.nbytes + more > self.max_bytes:
            raise StorageError(
                f"The record exceeds max_bytes={self.max_bytes:,}: it has {self.nbytes:,} bytes, and {what} "
                f"adds {more:,}."
            )

    def drop(self, table: Table) -> None:
        """Forget a table, and delete its files."""
        self._tables = [t for t in self._tables if t is not table]
        if table.folder is not None and self._scratch is not None:
            if self._scratch in table.folder.parents:
                shutil.rmtree(table.folder, ignore_errors=True)
        table.columns = []

    @property
    def nbytes(self) -> int:
        """Bytes of all tables."""
        return sum(t.nbytes for t in self._tables)

    @property
    def bytes_in_memory(self) -> int:
        """Bytes of the tables in memory."""
        return sum(t.nbytes for t in self._tables if t.in_memory)

    def close(self) -> None:
        """Delete what is not kept."""
        self._tables = []
        if self._scratch is not None:
            self._delete()
            self._scratch = None

    def _new_folder(self) -> Path:
        if self._scratch is None:
            if self.folder is None:
                self._scratch, give_back = take_scratch()
            else:
                self._scratch = Path(tempfile.mkdtemp(prefix=partial_prefix(), dir=self.folder))
                give_back = functools.partial(shutil.rmtree, self._scratch, ignore_errors=True)
            self._delete = weakref.finalize(self, give_back)
        return Path(tempfile.mkdtemp(dir=self._scratch))


def partial_prefix() -> str:
    """How the names of folders begin that this process has not finished."""
    return f".recording-{socket.gethostname()}-{os.getpid()}-"


def _sweep(folder: Path) -> None:
    """Delete what processes of this machine that are gone were recording."""
    for path in newest_first(folder, f".recording-{socket.gethostname()}-*"):
        pid = path.name.rsplit("-", 2)[1]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def free_memory() -> int:
    """Bytes of memory that are free, as far as the system says; limits of a container included."""
    free = 2**31
    with contextlib.suppress(OSError, ValueError, AttributeError):
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, StopIteration, ValueError):
        with open("/proc/meminfo") as file:
            free = 1024 * int(next(line for line in file if line.startswith("MemAvailable")).split()[1])
    with contextlib.suppress(OSError, ValueError):
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        free = min(free, limit - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    return max(free, 0)
