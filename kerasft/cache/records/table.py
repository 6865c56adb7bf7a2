"""Tables of rows that grow, in memory or in files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerasft.typing import Rows


class StorageError(Exception):
    """A record can't be stored; the message says why, as a sentence."""


class Column:
    """An array that grows by rows: blocks in memory, or a file."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], path: Path | None = None) -> None:
        self.shape, self.dtype, self.path = shape, dtype, path
        self.row_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        self._blocks: list[np.ndarray] = []
        self._starts: list[int] = []
        self._rows = 0
        self._map: np.ndarray | None = None

    def __len__(self) -> int:
        return self._rows

    def append(self, block: np.ndarray) -> None:
        """Add rows; what the caller does to `block` later does not matter."""
        if self.path is None:
            self._starts.append(self._rows)
            self._blocks.append(np.array(block))
        else:
            with open(self.path, "ab") as file:
                file.write(np.ascontiguousarray(block).view(np.uint8).data)
            self._map = None
        self._rows += len(block)

    def take(self, rows: Rows) -> np.ndarray:
        """The given rows, in the given order."""
        if self.path is not None:
            return self._mapped(self.path)[rows]
        found = np.empty((len(rows), *self.shape), self.dtype)
        block = np.searchsorted(self._starts, rows, side="right") - 1
        for index in np.unique(block):
            at = np.flatnonzero(block == index)
            found[at] = self._blocks[index][rows[at] - self._starts[index]]
        return found

    def move_to(self, path: Path) -> None:
        """Move from memory to a file."""
        with open(path, "wb") as file:
            for block in self._blocks:
                file.write(np.ascontiguousarray(block).view(np.uint8).data)
        self.path, self._blocks, self._starts = path, [], []

    def _mapped(self, path: Path) -> np.ndarray:
        if self._map is None:
            shape = (self._rows, *self.shape)
            if not self._rows or not self.row_bytes:
                self._map = np.empty(shape, self.dtype)
            else:
                self._map = np.memmap(path, self.dtype, "r", 0, shape)
        return self._map

    @classmethod
    def of_file(cls, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], rows: int) -> Column:
        """A column that a file holds already; it stays what it is if another file takes the name later."""
        column = cls(shape, dtype, path)
        column._rows = rows
        column._mapped(path)
        return column

    def digest(self) -> str:
        """Compute a checksum of all rows."""
        rows = np.ascontiguousarray(
            self.take(np.arange(self._rows)) if self.path is None else self._mapped(self.path)
        )
        return hashlib.blake2b(rows.reshape(-1).view(np.uint8).data, digest_size=16).hexdigest()


class Table:
    """Columns with the same rows; a folder holds them, if there is one."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.columns: list[Column] = []

    def __len__(self) -> int:
        return len(self.columns[0]) if self.columns else 0

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, wherever they are."""
        return sum(len(c) * c.row_bytes for c in self.columns)

    @property
    def in_memory(self) -> bool:
        """Whether the rows are in memory."""
        return self.folder is None

    def append(self, arrays: Sequence[np.ndarray]) -> None:
        """Add rows: one array for each column.

        Raises:
            StorageError: An array has another shape or dtype than those before it, or holds strings.
        """
        if any(a.dtype.hasobject for a in arrays):
            raise StorageError("The data hold strings beside the cut, which can't be recorded.")
        if not self.columns:
            self.columns = [
                Column(a.shape[1:], a.dtype, None if self.folder is None else self.folder / f"{i}.bin")
                for i, a in enumerate(arrays)
            ]
        for column, array in zip(self.columns, arrays, strict=True):
            if array.shape[1:] != column.shape or array.dtype != column.dtype:
                raise StorageError(
                    f"The data change from batch to batch: {array.dtype} {array.shape[1:]} came after "
                    f"{column.dtype} {column.shape}."
                )
        for column, array in zip(self.columns, arrays, strict=True):
            column.append(array)

    def take(self, rows: Rows) -> list[np.ndarray]:
        """The given rows of each column, in the given order."""
        return [column.take(rows) for column in self.columns]

    def move_to(self, folder: Path) -> None:
        """Move from memory to files in a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for i, column in enumerate(self.columns):
            column.move_to(folder / f"{i}.bin")
        self.folder = folder

    def describe(self) -> list[dict[str, Any]]:
        """Describe what each column holds, with its checksum."""
        return [
            {
                "dtype": c.dtype.name,
                "shape": list(c.shape),
                "bytes": len(c) * c.row_bytes,
                "blake2b": c.digest(),
            }
            for c in self.columns
        ]

    @classmethod
    def open(cls, folder: Path, description: Sequence[dict[str, Any]], rows: int) -> Table:
        """Open a table that `describe` described.

        Raises:
            OSError: A file is missing.
            StorageError: A file was cut short or altered.
        """
        table = cls(folder)
        for i, described in enumerate(description):
            path = folder / f"{i}.bin"
            if path.stat().st_size != described["bytes"]:
                raise StorageError(f"{path} was cut short")
            column = Column.of_file(path, tuple(described["shape"]), np.dtype(described["dtype"]), rows)
            if column.digest() != described["blake2b"]:
                raise StorageError(f"{path} was altered")
            table.columns.append(column)
        return table
