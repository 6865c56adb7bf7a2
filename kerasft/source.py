"""A source of training or validation data whose frozen part is recorded as it passes by.

`Source` stands in for a model's training or test function. An epoch is either a pass, which reads the
source and runs the prefix for samples that the record lacks, or a replay, which reads the record alone.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasft import trainer
from kerasft.cuts import Cut, NoCutError, Prefix, trace_prefix
from kerasft.kept import Kept, keep, kept
from kerasft.order import Index, Order, order_of
from kerasft.record import Storage, StorageError, Table
from kerasft.samples import check_rows, check_spec, identities, leaves, without_optionals
from kerasft.suffix import Suffix

logger = logging.getLogger(__name__)

CHUNK_BYTES = 2**26  # of recorded rows that go into one call of several steps
COMPARE_SECONDS = 0.2  # a comparison that takes longer is made in the first, second, fourth, eighth … replay


@dataclass(frozen=True)
class Settings:
    """What a `Source` needs to know once.

    Attributes:
        training: Whether it trains the model, rather than testing it.
        dtype: Of recorded floats: "float32" for what was computed, or "float16".
        verify: Whether the source is compared with the record.
        views: How many epochs are recorded, to be used in turn.
        seed: For permutations.
        folder: Where records are kept for later runs; None keeps none.
    """

    training: bool
    dtype: str
    verify: bool
    views: int
    seed: int
    folder: Path | None


@dataclass(frozen=True)
class Plan:
    """What a `Source` needs to know before a step is traced.

    Attributes:
        cuts: Finds the cuts, as in `trace_prefix`.
        moving: Calls that are known not to be deterministic.
        traced: Prefixes that were traced before.
        repeats: Whether the data are the same in each epoch for certain.
        ordered: Whether they come in the same order for certain.
        ahead: Whether several steps may be taken before the first of them is reported.
        first_epoch: Where `fit` began.
        steps: How many steps Keras expects of one call.
    """

    cuts: Callable[[Any], list[Cut]]
    moving: set[int]
    traced: list[Prefix]
    repeats: bool
    ordered: bool
    ahead: bool
    first_epoch: int
    steps: int


@dataclass(eq=False)
class Recorded:
    """The values at one cut: row `positions[i]` of the table is that of sample `i`, -1 if it is missing."""

    table: Table
    weights: str
    positions: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def missing(self, rows: np.ndarray) -> np.ndarray:
        """Which of these samples it lacks."""
        if len(rows) and rows.max() >= len(self.positions):
            more = np.full(int(rows.max()) + 1 - len(self.positions), -1, np.int64)
            self.positions = np.concatenate([self.positions, more])
        return self.positions[rows] < 0

    def is_complete(self, rows: int) -> bool:
        """Whether it has all samples."""
        return len(self.positions) == rows and bool((self.positions >= 0).all())


class Source:
    """Stands in for `model.train_function`, or `model.test_function`.

    Args:
        model: The model that is trained.
        settings: What does not change.
        store: Where tables are.
        plan: What is known before tracing; asked at the first step after `retrace`.
        stop: Called with a reason when the record can't be used; `True` means for the rest of the fit.
        is_running: Whether the call comes from the fit that this belongs to.
    """

    def __init__(
        self,
        model: keras.Model,
        settings: Settings,
        store: Storage,
        plan: Callable[[], Plan],
        stop: Callable[[str, bool], None],
        is_running: Callable[[], bool],
    ) -> None:
        self.model, self.settings, self.store = model, settings, store
        self._ask, self._stop, self._is_running = plan, stop, is_running
        self.stock: Any = None
        self._iterator: Any = None  # the one that the calls of this epoch come with
        self.forget()
        self.begin_epoch(0)

    def _restart(self) -> None:
        """Begin a new record."""
        self._recorded: dict[int, Recorded] = {}
        self._index = Index()
        self._sides: tuple[int, ...] = ()  # numbers of the model's inputs that are recorded
        self._base = self.store.table()  # what the suffix needs beside the cut: side inputs, targets, weights
        self._log: list[np.ndarray] = []
        self._window = self._passes = self._seen = self._new = 0
        self._batches: list[np.ndarray] = []
        self._closed = False
        self._order: Order | None = None
        self._left_out: set[int] = set()  # coming cuts for which there is no room
        self._is_kept = False  # whether it began with a record that an earlier run has kept
        self._kept_order: Order | None = None  # of that record

    def forget(self) -> None:
        """Begin anew, without a record and without traced steps."""
        self.retrace()
        self._restart()
        self._changes = 0
        self._looked_for_kept = False
        self._probed = False
        self._compare_seconds = 0.0  # that the last comparison took

    def retrace(self) -> None:
        """Trace the steps anew before the next one."""
        self._plan: Plan | None = None
        self._prefix: Prefix | None = None
        self._suffix: Suffix | None = None
        self._logs: list[Any] = []

    def begin_epoch(self, epoch: int) -> None:
        """The next call is the first one of an epoch."""
        self._epoch = epoch
        self._fresh = True
        self._replay: list[np.ndarray] | None = None
        self._next = 0
        self._logs = []
        self._seen = self._new = 0
        self._batches = []
        self._peeked: Any = None
        self._halted = False
        self._is_whole = True
        self._iterator = None

    @property
    def replays(self) -> bool:
        """Whether this epoch comes from the record."""
        return self._replay is not None

    @property
    def samples(self) -> int:
        """How many samples are recorded."""
        return len(self._index)

    @property
    def cut_name(self) -> str:
        """The layer at the cut in force."""
        return self._cut.name if self._plan is not None else ""

    # --- in place of Keras's function

    def __call__(self, iterator: Any) -> Any:
        """Take as many steps as Keras expects of one call; return the logs of the last one."""
        if iterator is not self._iterator:
            if not isinstance(iterator, tf.data.Iterator) or not self._is_running():
                return self.stock(iterator)  # train_on_batch, or a later fit after an interrupted one
            self._iterator = iterator
        try:
            prepared = self._prepare(iterator)
            if self._fresh:
                self._fresh = False
                self._begin(iterator)
            elif prepared and self._replay is not None and not self._has_all():
                self._replay, self._is_whole = None, False  # the depth has changed within the epoch
        except (NoCutError, StorageError) as error:
            self._halt(error)
        return self._from_source(iterator) if self._replay is None else self._from_record()

    def _halt(self, error: Exception) -> None:
        """Leave this and the coming steps to Keras's own function."""
        self._halted = True
        self._stop(str(error), not isinstance(error, NoCutError))

    def _from_source(self, iterator: Any) -> Any:
        steps = trainer.steps_per_call(self.model)
        logs = None
        for done in range(steps):
            if self._halted:
                return self._from_stock(iterator, steps - done, logs)
            batch, self._peeked = self._peeked, None
            if batch is None:
                batch = next(iterator, None)
            if batch is None:
                break
            try:
                logs = self._pass_by(without_optionals(batch))
            except (NoCutError, StorageError) as error:
                self._peeked = batch
                self._halt(error)
                return self._from_stock(iterator, steps - done, logs)
        if logs is None:
            raise StopIteration
        return logs

    def _from_stock(self, iterator: Any, steps: int, logs: Any) -> Any:
        """The rest of a call by Keras's own function, which goes on from here."""
        if self._peeked is None and steps == trainer.steps_per_call(self.model):
            return self.stock(iterator)
        batches = [] if self._peeked is None else [self._peeked]
        self._peeked = None
        batches += itertools.islice(iterator, steps - len(batches))
        return self.stock(iter(batches)) if batches else logs

    def _from_record(self) -> Any:
        assert self._plan is not None and self._replay is not None
        if not self._logs:
            if self._next == len(self._replay):
                raise StopIteration
            self._take_steps()
        served, self._logs = self._logs[: self._plan.steps], self._logs[self._plan.steps :]
        return served[-1]

    # --- epochs

    def _begin(self, iterator: Any) -> None:
        """Decide whether this epoch is a pass or a replay."""
        assert self._plan is not None
        if not self._looked_for_kept:
            self._looked_for_kept = True
            self._use_kept(iterator)
        if not self._closed:
            return
        if not self._has_all():
            if self.settings.views > 1:  # its epochs do not come again
                self._restart()
            return
        if self._order is None or self._compares:
            self._compare(iterator)
        assert self._order is not None
        self._peeked = None
        self._replay = self._order.epoch(self._epoch)

    def _compare(self, iterator: Any) -> None:
        """Hold the first batch of a replay against the record."""
        begin = time.perf_counter()
        if self._order is not None:
            turn = self._epoch - self._order.first_epoch
            if self._compare_seconds > COMPARE_SECONDS and turn & (turn - 1):
                return  # it takes long: to fill a buffer for shuffling, say
        if self._peeked is None:
            self._peeked = next(iterator, None)
        if self._peeked is None:
            raise StorageError(f"The source had no data in epoch {self._epoch}.")
        identities = self._identify(self._peeked)
        known = [identity in self._index for identity in identities.tolist()]
        if self._compares and not all(known):
            raise StorageError(self._why_changed(known.count(False), len(known)))
        if self._order is None:
            same = all(known) and np.array_equal(self._index.find(identities)[0], self._log[0])
            self._settle_order(self._log * 2 if same else self._log, self._epoch)
            if not self._is_kept:
                self._keep()
        self._compare_seconds = time.perf_counter() - begin

    def end_epoch(self, whole: bool) -> None:
        """See what a pass has shown; `whole` tells whether it was one."""
        if self._replay is not None or not self._batches or self._plan is None:
            return
        if not (whole and self._is_whole):
            self.begin_epoch(self._epoch)
            if not self._closed:
                self._log, self._passes = [], 0
            return
        if self._closed:
            return  # it went by for the sake of another cut
        self._log += self._batches
        self._window = len(self._batches)
        self._passes += 1
        share = self._new / max(1, self._seen)
        if not self._compares:
            self._closed = self._passes >= self.settings.views
        elif not self._new:
            self._closed = True
        elif self._passes > 1 and (share > 0.5 or self._passes > 3):
            self._halt(StorageError(self._why_unfit()))
            return
        if self._closed and (self._plan.repeats or self._passes > 1):
            self._settle_order(self._log * 2 if self._plan.ordered else self._log, self._epoch + 1)
        if not self._is_kept:
            self._keep()

    @property
    def _compares(self) -> bool:
        """Whether what comes from the source is to be held against the record."""
        assert self._plan is not None
        return self.settings.verify and self.settings.views == 1 and not self._plan.repeats

    def _why_changed(self, new: int, of: int) -> str:
        return (
            f"{new} of {of} samples in epoch {self._epoch} had not been seen before, although an epoch had "
            "brought nothing new: the source has changed."
        )

    def _why_unfit(self) -> str:
        return (
            f"{self._new:,} of the {self._seen:,} samples of epoch {self._epoch} had not been seen before: "
            "the source augments, or an epoch is less than all of its data. Augment in layers behind the "
            "frozen ones, or record several epochs with augmented_views."
        )

    def _settle_order(self, log: Sequence[np.ndarray], first_epoch: int) -> None:
        order = order_of(
            log, self._window, len(self._index), self.settings.seed, first_epoch, self.settings.views
        )
        was = self._kept_order
        if was is not None and order.seed is not None and was.seed is not None and was.sizes == order.sizes:
            order = was  # so that this run can be resumed too
        self._order = order

    def _has_all(self) -> bool:
        """Whether the cut in force is recorded for all samples, with the weights as they are."""
        assert self._plan is not None
        recorded = self._valid(self._cut)
        return recorded is not None and recorded.is_complete(len(self._index))

    def _valid(self, cut: Cut) -> Recorded | None:
        recorded = self._recorded.get(cut.position)
        if recorded is not None and recorded.weights != cut.weights_digest:
            self.store.drop(self._recorded.pop(cut.position).table)
            self._changes += 1
            if self._changes > 2:
                raise StorageError(
                    "Frozen weights have changed three times between epochs: something beside the optimizer "
                    "writes them."
                )
            logger.info("The frozen weights before %s have changed; their record is dropped.", cut.name)
            recorded = None
        return recorded

    # --- steps

    def _prepare(self, iterator: Any) -> bool:
        """Find the cuts after `retrace`; returns whether that was to be done."""
        if self._plan is not None:
            return False
        plan = self._ask()
        self._spec = without_optionals(iterator.element_spec)
        check_spec(self._spec)
        self._cuts = plan.cuts(plan.moving)
        self._cut = self._cuts[0]
        for position in self._recorded.keys() - {cut.position for cut in self._cuts}:
            self.store.drop(self._recorded.pop(position).table)  # what comes before it will train
        if len(self._index) and not {s for cut in self._cuts for s in cut.sides} <= set(self._sides):
            self._restart()  # a deeper cut needed fewer inputs beside it
        self._plan = plan
        identify = tf.function(lambda *given: identities(given), autograph=False)
        self._identities = identify.get_concrete_function(*leaves(self._spec))
        return True

    def _prefix_for(self) -> Prefix:
        """The traced prefix; tracing may show that the cut has to be another one."""
        assert self._plan is not None
        if self._prefix is None:
            x, _, _ = keras.utils.unpack_x_y_sample_weight(self._spec)
            self._prefix = trace_prefix(
                self._plan.cuts, x, self.settings.training, self._plan.moving, self._plan.traced
            )
            self._cuts = list(self._prefix.cuts)
            if self._cuts[0].position != self._cut.position:
                self._suffix = None
            self._cut = self._cuts[0]
        return self._prefix

    def _pass_by(self, batch: Any) -> Any:
        """One step on data from the source, which are recorded."""
        found = self._identify(batch)
        rows, new = self._index.find(found)
        if new.any() and self._is_kept:  # that record is of other data, or of a part of them
            logger.info("The data differ from those of the kept record; it is not used.")
            self._is_whole = not self._batches  # what the kept record had of this epoch is not recorded
            self._restart()
            rows, new = self._index.find(found)
        self._batches.append(rows)
        self._seen, self._new = self._seen + len(rows), self._new + int(new.sum())
        if self._compares:
            if self._closed and new.any():
                raise StorageError(self._why_changed(int(new.sum()), len(new)))
            if self._passes and len(self._batches) == 4 and 2 * self._new > self._seen:
                raise StorageError(self._why_unfit())
        columns = self._columns(batch, rows, new)
        return self._suffix_for(columns).step(columns)

    def _columns(self, batch: Any, rows: np.ndarray, new: np.ndarray) -> list[Any]:
        """What the step needs for a batch, from the record where it has it."""
        wanted = [cut for cut in self._cuts if cut is self._cut or cut.position not in self._left_out]
        lacking = new.any() or any(
            (recorded := self._valid_once(cut)) is None or recorded.missing(rows).any() for cut in wanted
        )
        if not lacking:
            recorded = self._recorded[self._cut.position]
            return [*recorded.table.take(recorded.positions[rows]), *self._base.take(rows)]
        prefix = self._prefix_for()
        values, masks, sides = self._run(prefix, batch)
        if not len(self._base):
            self._sides = prefix.sides
        sides = [t for n, t in zip(prefix.sides, sides, strict=True) if n in self._sides]
        _, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        beside = [*sides, *leaves((y, weight))]
        check_rows(beside + values, len(rows))
        first = np.flatnonzero(new)
        if len(first):
            self.store.append(self._base, [_array(t)[first] for t in beside])
        for cut, value, mask in zip(prefix.cuts, values, masks, strict=True):
            if cut.position in self._left_out and cut is not prefix.cuts[0]:
                continue
            recorded = self._recorded.get(cut.position)
            if recorded is None:
                recorded = self._recorded[cut.position] = Recorded(self.store.table(), cut.weights_digest)
            at = np.flatnonzero(recorded.missing(rows))
            at = at[np.unique(rows[at], return_index=True)[1]]  # a sample that comes twice is recorded once
            begin = len(recorded.table)
            try:
                values_at = self._rounded(_array(value)[at], cut)
                self._append(cut, recorded, [values_at, *([] if mask is None else [_array(mask)[at]])])
            except StorageError as error:
                if cut is prefix.cuts[0]:
                    raise
                logger.info("Nothing is recorded for the coming cut at %s. %s", cut.name, error)
                self._leave_out(cut)
                continue
            recorded.positions[rows[at]] = np.arange(begin, begin + len(at))
        return [values[0], *([] if masks[0] is None else [masks[0]]), *beside]

    def _append(self, cut: Cut, recorded: Recorded, arrays: Sequence[np.ndarray]) -> None:
        """Record values; those for coming cuts make room for those of the cut in force."""
        while True:
            try:
                self.store.append(recorded.table, arrays)
                return
            except StorageError:
                coming = [c for c in self._cuts[1:] if c.position in self._recorded]
                if cut is not self._cut or not coming:
                    raise
                self._leave_out(coming[-1])

    def _leave_out(self, cut: Cut) -> None:
        """Record nothing for a coming cut, until it is in force."""
        self._left_out.add(cut.position)
        if recorded := self._recorded.pop(cut.position, None):
            self.store.drop(recorded.table)

    def _valid_once(self, cut: Cut) -> Recorded | None:
        """As `_valid`, with weights compared at the first batch of an epoch only."""
        return self._valid(cut) if len(self._batches) == 1 else self._recorded.get(cut.position)

    def _run(self, prefix: Prefix, batch: Any) -> Any:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        values, masks, sides = prefix(x)
        if not self._probed:
            self._probed = True
            _check_independence(prefix, x, values)
        return values, masks, sides

    def _rounded(self, values: np.ndarray, cut: Cut) -> np.ndarray:
        """Values in the dtype of the record."""
        if self.settings.dtype != "float16" or values.dtype not in (np.float32, np.float64):
            return values
        with np.errstate(over="ignore"):
            rounded = values.astype(np.float16)
        if np.isinf(rounded).any() and np.isfinite(values).all():
            raise StorageError(
                f'dtype="float16" can\'t hold the output of {cut.name!r}: it has values up to '
                f'{np.abs(values).max():.3g}, and 65504 is the largest. Use "float32".'
            )
        return rounded

    def _suffix_for(self, columns: Sequence[Any]) -> Suffix:
        """The traced suffix, for columns like these."""
        if self._suffix is None:
            self._suffix = Suffix(
                self.model, self._cut, self._spec, self._sides, columns, self.settings.training
            )
        return self._suffix

    def _take_steps(self) -> None:
        """Take the next steps from the record, as many in one call as may be."""
        assert self._plan is not None and self._replay is not None
        recorded = self._recorded[self._cut.position]
        left = self._replay[self._next :]
        row_bytes = max(1, sum(c.row_bytes for c in [*recorded.table.columns, *self._base.columns]))
        fit = max(1, CHUNK_BYTES // (row_bytes * max(1, len(left[0]))))
        batches = left[: max(fit, self._plan.steps) if self._plan.ahead else self._plan.steps]
        self._next += len(batches)
        rows = np.concatenate(batches)
        columns = [*recorded.table.take(recorded.positions[rows]), *self._base.take(rows)]
        self._logs = self._suffix_for(columns).steps(columns, [len(batch) for batch in batches])

    def _identify(self, batch: Any) -> np.ndarray:
        return self._identities(*leaves(without_optionals(batch))).numpy()

    # --- kept records

    def _folder_of(self, cut: Cut) -> Path | None:
        if self.settings.folder is None:
            return None
        mode = "train" if self.settings.training else "validation"
        return self.settings.folder / f"{cut.digest}-{self.settings.dtype}-{mode}"

    def _keep(self) -> None:
        """Write what is recorded in full where later runs find it."""
        for cut in self._cuts:
            folder, recorded = self._folder_of(cut), self._recorded.get(cut.position)
            if folder is None or recorded is None or not recorded.is_complete(len(self._index)):
                continue
            state = Kept(
                self._index,
                recorded.table,
                self._base,
                recorded.positions,
                self._sides,
                tuple(self._log),
                self._passes,
                self._order,
            )
            try:
                keep(folder, state)
            except OSError as error:
                logger.warning("The record could not be kept: %s.", error)

    def _use_kept(self, iterator: Any) -> None:
        """Begin with records that an earlier run has kept, if they have the first samples."""
        assert self._plan is not None
        if self.settings.folder is None:
            return
        for cut in self._cuts:
            folder = self._folder_of(cut)
            assert folder is not None
            for path, found in kept(folder):
                if self._peeked is None:
                    self._peeked = next(iterator, None)
                if self._peeked is None:
                    return
                if not len(self._index):
                    first = self._identify(self._peeked).tolist()
                    if not all(identity in found.index for identity in first):
                        continue
                    self._take_over(found)
                elif not np.array_equal(found.index.fingerprints(), self._index.fingerprints()):
                    continue
                self._recorded[cut.position] = Recorded(found.values, cut.weights_digest, found.positions)
                logger.info("Using the record kept in %s.", path)
                break

    def _take_over(self, found: Kept) -> None:
        """Begin with what is kept; a run that is resumed goes on where the record stood."""
        assert self._plan is not None
        self._index, self._base, self._sides = found.index, found.beside, found.sides
        self._kept_order, self._is_kept = found.order, True
        if 0 < self._plan.first_epoch == self._epoch:
            self._log, self._passes = list(found.log), found.passes
            if found.order is not None and found.order.first_epoch <= self._epoch:
                self._order, self._closed, self._window = found.order, True, len(found.order.sizes)


def _array(tensor: Any) -> np.ndarray:
    return np.asarray(tensor)


def _check_independence(prefix: Prefix, x: Any, values: Sequence[Any]) -> None:
    """Raise if what the prefix gives for a sample depends on the others in its batch.

    Raises:
        StorageError: The first half of a batch gives something else beside a copy of itself.
    """
    rows = int(values[0].shape[0])
    half = (rows + 1) // 2
    mixed = keras.tree.map_structure(lambda t: tf.gather(t, np.arange(rows) % half), x)
    for value, other in zip(values, prefix(mixed)[0], strict=True):
        a, b = (np.asarray(tf.cast(v[:half], tf.float32)) for v in (value, other))
        scale = np.abs(a).max() if a.size else 0.0
        if not np.allclose(a, b, rtol=1e-2, atol=1e-2 * scale, equal_nan=True):
            raise StorageError("What the frozen layers give for a sample depends on the others in its batch.")
