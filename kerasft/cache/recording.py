"""What frozen layers gave for the samples of a source at cuts, and the other columns of a step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kerasft.cache.cuts import Cut, value_places
from kerasft.cache.frozen_weights import Weights
from kerasft.cache.records import (
    ReplayOrder,
    SampleIndex,
    SavedRecord,
    Storage,
    StorageError,
    Table,
)
from kerasft.cache.samples import check_rows
from kerasft.typing import Columns, Crossing, Rows

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Values:
    """The values at one cut: row `positions[i]` of the table is that of sample `i`, -1 if it is missing.

    The table's columns are the values, each followed by its mask where `masked` says that it has one.
    """

    table: Table
    weights: Weights
    masked: tuple[bool, ...]
    positions: Rows = field(default_factory=lambda: np.empty(0, np.int64))
    first_epoch: int = 0

    def missing(self, rows: Rows) -> np.ndarray:
        """Find which of these samples it lacks."""
        if len(rows) and rows.max() >= len(self.positions):
            more = np.full(int(rows.max()) + 1 - len(self.positions), -1, np.int64)
            self.positions = np.concatenate([self.positions, more])
        return self.positions[rows] < 0

    def is_complete(self, rows: int) -> bool:
        """Whether it has all samples."""
        return len(self.positions) == rows and bool((self.positions >= 0).all())


class Recording:
    """Samples by their fingerprints, their values at cuts, and the other columns of their steps.

    Args:
        store: Where tables are.
        dtype: Of recorded floats: "float32" for what was computed, or "float16".

    Attributes:
        epoch: The epoch that is recorded.
        index: The samples.
        extra_inputs: Numbers of the model's inputs that are recorded.
    """

    def __init__(self, store: Storage, dtype: str) -> None:
        self._store, self._dtype = store, dtype
        self.epoch, self.index = 0, SampleIndex()
        self.extra_inputs: tuple[int, ...] = ()
        self._other_columns = store.table()  # inputs of the model, targets, weights of samples
        self._values: dict[int, Values] = {}  # by the cut's position
        self._left_out: set[int] = set()  # coming cuts for which there is no room
        self._changes = 0

    def __len__(self) -> int:
        return len(self.index)

    def drop(self) -> None:
        """Free all its tables."""
        for table in (self._other_columns, *(values.table for values in self._values.values())):
            self._store.drop(table)

    def forget_all_but(self, cuts: Sequence[Cut]) -> None:
        """Keep the values at these cuts alone: what comes before others will train."""
        self.keep_at([cut.position for cut in cuts])

    def begun(self) -> dict[int, int]:
        """The positions of the cuts of which it has values, with their first epochs, 0 if none is missing."""
        return {p: 0 if v.is_complete(len(self)) else v.first_epoch for p, v in self._values.items()}

    def keep_at(self, positions: Collection[int]) -> None:
        """Keep the values at cuts with these positions alone."""
        for position in self._values.keys() - set(positions):
            self._store.drop(self._values.pop(position).table)

    def has_inputs_for(self, cuts: Sequence[Cut]) -> bool:
        """Whether it has the extra inputs of these cuts, or no samples yet."""
        return not len(self) or {s for cut in cuts for s in cut.extra_inputs} <= set(self.extra_inputs)

    def forget_changed(self, cuts: Sequence[Cut]) -> list[Cut]:
        """Forget the values at those of these cuts before which weights have changed, and return these cuts.

        Raises:
            StorageError: That happens again and again.
        """
        changed = []
        for cut in cuts:
            values = self._values.get(cut.position)
            if values is None or values.weights.are_unchanged():
                continue
            self._store.drop(self._values.pop(cut.position).table)
            self._changes += 1
            if self._changes > 2:
                raise StorageError(
                    "Frozen weights have changed three times between epochs: something besides the optimizer "
                    "writes them."
                )
            logger.info("The frozen weights before %s have changed; their record is dropped.", cut.name)
            changed.append(cut)
        return changed

    def has_all(self, cut: Cut) -> bool:
        """Whether it has the values of all samples at a cut."""
        values = self._values.get(cut.position)
        return values is not None and values.is_complete(len(self))

    def lacks(self, cuts: Sequence[Cut], rows: Rows) -> bool:
        """Whether it lacks one of these samples at a cut for which there is room; the first is in force."""
        return any(
            (values := self._values.get(cut.position)) is None or values.missing(rows).any()
            for cut in self.with_room(cuts)
        )

    def with_room(self, cuts: Sequence[Cut]) -> list[Cut]:
        """Those of these cuts for which there is room; the first is in force."""
        return [cut for cut in cuts if cut is cuts[0] or cut.position not in self._left_out]

    def take(self, cut: Cut, rows: Rows) -> list[np.ndarray]:
        """Return the columns of a step: the values at a cut with their masks, and the other columns."""
        values = self._values[cut.position]
        return [*values.table.take(values.positions[rows]), *self._other_columns.take(rows)]

    def masked(self, cut: Cut) -> tuple[bool, ...]:
        """Which of the values at a cut have a mask."""
        return self._values[cut.position].masked

    def row_bytes(self, cut: Cut) -> int:
        """Bytes of one sample in `take`."""
        return sum(
            c.row_bytes for c in [*self._values[cut.position].table.columns, *self._other_columns.columns]
        )

    def add(
        self,
        cuts: Sequence[Cut],
        rows: Rows,
        new: np.ndarray,
        values: Sequence[Crossing],
        extra_inputs: Mapping[int, Any],
        others: Columns,
    ) -> list[Any]:
        """Record what is new of a batch.

        Args:
            cuts: The cuts, the one in force first; those after it make room for it.
            rows: The row of each sample of the batch, as `index` gives them.
            new: Which of them are new.
            values: For each cut what crosses there.
            extra_inputs: Inputs of the model by their numbers.
            others: The leaves of targets and weights.

        Returns:
            The columns of the batch, as `take` returns them.

        Raises:
            StorageError: There is no room, or the batch is unlike those before it.
        """
        if not len(self._other_columns):
            self.extra_inputs = tuple(extra_inputs)
        columns = [*(extra_inputs[n] for n in self.extra_inputs), *others]
        check_rows([*columns, *(value for crossing in values for value, _ in crossing)], len(rows))
        if new.any():
            first = np.flatnonzero(new)
            self._append(self._other_columns, [_array(t)[first] for t in columns], cuts[1:])
        for cut, crossing in zip(cuts, values, strict=True):
            if cut is cuts[0] or cut.position not in self._left_out:
                try:
                    self._add_values(cuts, cut, rows, crossing)
                except StorageError as error:
                    if cut is cuts[0]:
                        raise
                    logger.info("Nothing is recorded for the coming cut at %s. %s", cut.name, error)
                    self._leave_out(cut)
        first_values = values[0]
        if self._dtype == "float16":  # as later epochs take it from the record
            first_values = [(_as_float16(_array(value), cuts[0]), mask) for value, mask in first_values]
        return [*_flat(first_values), *columns]

    def add_targets(self, new: np.ndarray, others: Columns) -> None:
        """Record targets and weights of what is new of a batch, to which values can be added later.

        Raises:
            StorageError: There is no room, or the batch is unlike those before it.
        """
        check_rows(others, len(new))
        if new.any():
            self._append(self._other_columns, [_array(t)[new] for t in others], ())

    def _missing(self, cut: Cut, rows: Rows, masked: tuple[bool, ...]) -> tuple[Values, np.ndarray]:
        """The values at a cut, and where the samples are that they lack, each once."""
        values = self._values.get(cut.position)
        if values is None:
            values = self._values[cut.position] = Values(
                self._store.table(), Weights(cut.weights), masked, first_epoch=self.epoch
            )
        at = np.flatnonzero(values.missing(rows))
        return values, at[np.unique(rows[at], return_index=True)[1]]

    def _add_values(self, cuts: Sequence[Cut], cut: Cut, rows: Rows, crossing: Crossing) -> None:
        values, at = self._missing(cut, rows, tuple(mask is not None for _, mask in crossing))
        arrays = [_array(column)[at] for column in _flat(crossing)]
        if self._dtype == "float16":
            for place in value_places(values.masked):
                arrays[place] = _as_float16(arrays[place], cut)
        begin = len(values.table)
        self._append(values.table, arrays, cuts[1:] if cut is cuts[0] else ())
        values.positions[rows[at]] = np.arange(begin, begin + len(at))

    def _append(self, table: Table, arrays: Sequence[np.ndarray], coming: Sequence[Cut]) -> None:
        """Add rows to a table; the values at coming cuts make room for them, if there is none."""
        self._with_room(coming, lambda: self._store.append(table, arrays))

    def _with_room(self, coming: Sequence[Cut], action: Callable[[], None]) -> None:
        """Do something that needs room; without it, drop the values at coming cuts, the last one first."""
        while True:
            try:
                action()
                return
            except StorageError:
                recorded = [cut for cut in coming if cut.position in self._values]
                if not recorded:
                    raise
                self._leave_out(recorded[-1])

    def make_room(self, cuts: Sequence[Cut]) -> None:
        """Make room for the values that are missing at the first of these cuts, of which there are some.

        Raises:
            StorageError: There is not enough.
        """
        table = self._values[cuts[0].position].table
        bytes_of_row = sum(column.row_bytes for column in table.columns)
        more = bytes_of_row * (len(self) - len(table))
        self._with_room(cuts[1:], lambda: self._store.check_room(more, "the rest of it"))

    def _leave_out(self, cut: Cut) -> None:
        """Record nothing for a coming cut, until it is in force."""
        self._left_out.add(cut.position)
        if values := self._values.pop(cut.position, None):
            self._store.drop(values.table)

    # --- saved records

    def to_save(self, cut: Cut, order: ReplayOrder | None) -> SavedRecord | None:
        """Return the record at a cut for later runs, with this one's order; None if it is not complete."""
        if not self.has_all(cut):
            return None
        values = self._values[cut.position]
        return SavedRecord(
            self.index,
            values.table,
            self._other_columns,
            values.positions,
            self.extra_inputs,
            order,
            values.masked,
        )

    def adopt(self, cut: Cut, found: SavedRecord) -> None:
        """Take over the saved values at a cut, and their samples if there are none yet: nothing is added."""
        if not len(self):
            self.index, self._other_columns, self.extra_inputs = (
                found.index,
                found.other_columns,
                found.extra_inputs,
            )
        self._values[cut.position] = Values(found.values, Weights(cut.weights), found.masked, found.positions)

    def has_samples_of(self, found: SavedRecord) -> bool:
        """Whether a saved record has the same samples in the same rows."""
        return np.array_equal(found.index.fingerprints(), self.index.fingerprints())


def _flat(crossing: Crossing) -> list[Any]:
    """The values with their masks after them, without those that are None."""
    return [column for pair in crossing for column in pair if column is not None]


def _array(tensor: Any) -> np.ndarray:
    return np.asarray(tensor)


def _as_float16(values: np.ndarray, cut: Cut) -> np.ndarray:
    """Values in half the bytes, if they are floats.

    Raises:
        StorageError: They are too large.
    """
    if values.dtype not in (np.float32, np.float64):
        return values
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float16)
    if np.isinf(rounded).any() and np.isfinite(values).all():
        raise StorageError(
            f'dtype="float16" can\'t hold the output of {cut.name!r}: it has values up to '
            f'{np.abs(values).max():.3g}, and 65504 is the largest. Use "float32".'
        )
    return rounded
