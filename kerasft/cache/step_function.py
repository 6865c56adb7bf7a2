"""A source of training or validation data whose frozen part is recorded as it passes by.

`Source` stands in for a model's training or test function. An epoch is either a pass, which reads the
source and runs the prefix for samples that the record lacks, or a replay, which reads the record alone.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasft import _keras
from kerasft.cache.cuts import (
    Cut,
    NoCutError,
    Prefix,
    Suffix,
    leaves,
    trace_prefix,
    without_optionals,
)
from kerasft.cache.later_cut import record_at_later_cut
from kerasft.cache.recording import Recording
from kerasft.cache.records import (
    RepeatDetector,
    SavedRecord,
    Storage,
    StorageError,
    read_records,
    write_record,
)
from kerasft.cache.samples import check_spec, sample_fingerprints
from kerasft.cache.step_plan import StepPlan, StepSettings

logger = logging.getLogger(__name__)

CHUNK_BYTES = 2**26  # of recorded rows that go into one call of several steps


COMPARE_SECONDS = 0.2  # a comparison that takes longer is made in the first, second, fourth, eighth … replay


PROBED = 4  # samples of a kept record that are computed anew


class CachedStepFunction:
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
        settings: StepSettings,
        store: Storage,
        plan: Callable[[], StepPlan],
        stop: Callable[[str, bool], None],
        is_running: Callable[[], bool],
    ) -> None:
        self.model, self.settings, self.store = model, settings, store
        self._ask, self._stop, self._is_running = plan, stop, is_running
        self.stock: Any = None
        self._iterator: Any = None  # the one that the calls of this epoch come with
        self._epoch = 0
        self._recording = Recording(store, settings.dtype)
        self.forget()
        self.begin_epoch(0)

    def forget(self) -> None:
        """Begin anew, without a record and without traced steps."""
        self.retrace()
        self._restart()
        self._looked_for_kept = False
        self._probed = False
        self._compare_seconds = 0.0  # that the last comparison took
        self._seconds_per_cost = math.inf  # of the prefix, in the fastest batch
        self._spared_cost = 0.0

    def _restart(self) -> None:
        """Begin a new record."""
        self._recording.drop()
        self._recording = Recording(self.store, self.settings.dtype)
        self._passes = RepeatDetector(self.settings.verify, self.settings.views, self.settings.seed)
        self._passes.begin(self._epoch)
        self._is_kept = False  # whether it began with a record that an earlier run has kept
        self._follow_plan()

    def retrace(self) -> None:
        """Trace the steps anew before the next one."""
        self._plan: StepPlan | None = None
        self._prefix: Prefix | None = None
        self._suffix: Suffix | None = None
        self._logs: list[Any] = []

    def begin_epoch(self, epoch: int) -> None:
        """The next call is the first one of an epoch."""
        self._epoch = epoch
        self._passes.begin(epoch)
        self._fresh = True
        self._replay: list[np.ndarray] | None = None
        self._next = 0
        self._logs = []
        self._peeked: Any = None
        self._halted = False
        self._is_whole = True
        self._iterator = None

    @property
    def replays(self) -> bool:
        """Whether this epoch comes from the record."""
        return self._replay is not None

    @property
    def began_with_kept(self) -> bool:
        """Whether the record is one that an earlier run has kept."""
        return self._is_kept

    @property
    def samples(self) -> int:
        """How many samples are recorded."""
        return len(self._recording)

    @property
    def digest(self) -> str:
        """A name for the set of recorded samples, whatever their order."""
        return self._recording.index.digest()

    @property
    def seconds_spared(self) -> float:
        """Those that the prefix would have taken for the samples that came from the record, estimated by its
        fastest batch; 0 if it never ran."""
        return self._spared_cost * self._seconds_per_cost if math.isfinite(self._seconds_per_cost) else 0.0

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
            if self._fresh or prepared:
                self._recording.forget_changed([self._cut] if self._passes.closed else self._cuts)
            if self._fresh:
                self._fresh = False
                self._begin(iterator)
            elif prepared and self._replay is not None and not self._recording.has_all(self._cut):
                self._replay, self._is_whole = None, False  # the depth has changed within the epoch
        except (NoCutError, StorageError) as error:
            self._halt(error)
        return self._from_source(iterator) if self._replay is None else self._from_record()

    def _halt(self, error: Exception) -> None:
        """Leave this and the coming steps to Keras's own function."""
        self._halted, self._is_whole = True, False
        if isinstance(error, NoCutError):  # found while a batch was in hand; the next depth may have a cut
            self._restart()
        self._stop(str(error), not isinstance(error, NoCutError))

    def _from_source(self, iterator: Any) -> Any:
        steps = _keras.steps_per_call(self.model)
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
        if self._peeked is None and steps == _keras.steps_per_call(self.model):
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
        if not self._looked_for_kept:
            self._looked_for_kept = True
            self._use_kept(iterator)
        if not self._passes.closed:
            return
        if not self._recording.has_all(self._cut):
            if self.settings.views > 1:  # its epochs do not come again
                self._restart()
            return
        if self._passes.order is None or self._passes.compares:
            self._compare(iterator)
        assert self._passes.order is not None
        self._peeked = None
        self._replay = self._passes.order.epoch(self._epoch)

    def _compare(self, iterator: Any) -> None:
        """Hold the first batch of a replay against the record."""
        begin, passes, index = time.perf_counter(), self._passes, self._recording.index
        if passes.order is not None:
            turn = self._epoch - passes.order.first_epoch
            if self._compare_seconds > COMPARE_SECONDS and turn & (turn - 1):
                return  # it takes long: to fill a buffer for shuffling, say
        batch = self._peek(iterator)
        if batch is None:
            raise StorageError(f"The source had no data in epoch {self._epoch}.")
        identities = self._identify(batch)
        known = [identity in index for identity in identities.tolist()]
        if passes.compares and not all(known):
            raise StorageError(passes.why_changed(known.count(False), len(known)))
        if passes.order is None:
            passes.settle_by_first_batch(index.find(identities)[0] if all(known) else None, len(index))
            self._keep()
        self._compare_seconds = time.perf_counter() - begin

    def _peek(self, iterator: Any) -> Any:
        """The next batch, which stays the next one; None at the end."""
        if self._peeked is None:
            self._peeked = next(iterator, None)
        return self._peeked

    def end_epoch(self, whole: bool) -> None:
        """See what a pass has shown; `whole` tells whether it was one."""
        if self._replay is not None or not self._passes.batches or self._plan is None:
            return
        if not (whole and self._is_whole):
            self._passes.break_off()
            return
        was_closed = self._passes.closed
        try:
            self._passes.end(len(self._recording))
        except StorageError as error:
            self._halt(error)
            return
        if not was_closed:
            self._keep()

    # --- steps

    def _prepare(self, iterator: Any) -> bool:
        """Find the cuts after `retrace`; returns whether that was to be done."""
        if self._plan is not None:
            return False
        plan = self._ask()
        self._spec = without_optionals(iterator.element_spec)
        check_spec(self._spec)
        self._cuts = plan.cuts(plan.nondeterministic)
        self._cut = self._cuts[0]
        self._recording.forget_all_but(self._cuts)
        if not self._recording.has_inputs_for(self._cuts):
            self._restart()  # a deeper cut needed fewer inputs beside it
        self._plan = plan
        self._follow_plan()
        identify = tf.function(lambda *given: sample_fingerprints(given), autograph=False)
        self._identities = identify.get_concrete_function(*leaves(self._spec))
        return True

    def _follow_plan(self) -> None:
        if self._plan is not None:
            self._passes.repeats, self._passes.ordered = self._plan.repeats, self._plan.ordered

    def _prefix_for(self) -> Prefix:
        """The traced prefix; tracing may show that the cut has to be another one."""
        assert self._plan is not None
        if self._prefix is None:
            x, _, _ = keras.utils.unpack_x_y_sample_weight(self._spec)
            self._prefix = trace_prefix(
                self._plan.cuts, x, self.settings.training, self._plan.nondeterministic, self._plan.traced
            )
            self._cuts = list(self._prefix.cuts)
            if self._cuts[0].position != self._cut.position:
                self._suffix = None
            self._cut = self._cuts[0]
        return self._prefix

    def _pass_by(self, batch: Any) -> Any:
        """One step on data from the source, which are recorded."""
        found = self._identify(batch)
        rows, new = self._recording.index.find(found)
        if new.any() and self._is_kept:  # that record is of other data, or of a part of them
            logger.info("The data differ from those of the kept record; it is not used.")
            self._is_whole = not self._passes.batches  # what it had of this epoch is not recorded
            self._restart()
            rows, new = self._recording.index.find(found)
        self._passes.see(rows, new)
        columns = self._columns(batch, rows, new)
        return self._suffix_for(columns).step(columns)

    def _columns(self, batch: Any, rows: np.ndarray, new: np.ndarray) -> list[Any]:
        """What the step needs for a batch, from the record where it has it."""
        if not new.any() and not self._recording.lacks(self._cuts, rows):
            self._spared_cost += len(rows) * self._cut.cost
            return self._recording.take(self._cut, rows)
        prefix = self._prefix_for()
        x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        begin = time.perf_counter()
        values, masks, extra_inputs = prefix(x)
        seconds, cost = time.perf_counter() - begin, len(rows) * max(cut.cost for cut in prefix.cuts)
        self._seconds_per_cost = min(self._seconds_per_cost, seconds / cost)
        if not self._probed:
            self._probed = True
            _check_independence(prefix, x, values)
        return self._recording.add(
            prefix.cuts,
            rows,
            new,
            list(zip(values, masks, strict=True)),
            dict(zip(prefix.extra_inputs, extra_inputs, strict=True)),
            leaves((y, weight)),
        )

    def _suffix_for(self, columns: Sequence[Any]) -> Suffix:
        """The traced suffix, for columns like these."""
        if self._suffix is None:
            self._suffix = Suffix(
                self.model,
                self._cut,
                self._spec,
                self._recording.extra_inputs,
                columns,
                self.settings.training,
            )
        return self._suffix

    def _take_steps(self) -> None:
        """Take the next steps from the record, as many in one call as may be."""
        assert self._plan is not None and self._replay is not None
        left = self._replay[self._next :]
        row_bytes = max(1, self._recording.row_bytes(self._cut))
        fit = max(1, CHUNK_BYTES // (row_bytes * max(1, len(left[0]))))
        batches = left[: max(fit, self._plan.steps) if self._plan.ahead else self._plan.steps]
        self._next += len(batches)
        rows = np.concatenate(batches)
        self._spared_cost += len(rows) * self._cut.cost
        columns = self._recording.take(self._cut, rows)
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
        if self._is_kept:
            return
        for cut in self._cuts:
            folder, state = self._folder_of(cut), self._recording.to_save(cut, self._passes)
            if folder is None or state is None:
                continue
            self._write(folder, state)

    def _write(self, folder: Path, state: SavedRecord) -> None:
        try:
            write_record(folder, state)
        except OSError as error:
            logger.warning("The record could not be kept: %s.", error)

    def _use_kept(self, iterator: Any) -> None:
        """Begin with records that an earlier run has kept, if they have the first samples."""
        assert self._plan is not None
        below: list[Cut] | None = None
        for cut in self._cuts if self.settings.folder is not None else []:
            batch = self._peek(iterator)
            if batch is None:
                return
            found = self._find_kept(cut, batch)
            if found is None:
                below = list(self._plan.below()) if below is None else below
                found = self._bridged(cut, [lower for lower in below if lower.position < cut.position], batch)
            if found is None:
                continue
            if not len(self._recording):
                self._is_kept, self._passes.wanted_order = True, found.order
                self._resume(found, len(self._identify(batch)))
            self._recording.use(cut, found)

    def _find_kept(self, cut: Cut, batch: Any) -> SavedRecord | None:
        """The newest record kept at a cut that has the first samples and is of these layers."""
        folder, first = self._folder_of(cut), self._identify(batch)
        for path, found in () if folder is None else read_records(folder):
            if not self._recording.has_samples_of(found, first.tolist()):
                continue
            if self._gives_what_is_kept(cut, found, without_optionals(batch), first):
                logger.info("Using the record kept in %s.", path)
                return found
            logger.warning("The record in %s is of other layers; it is not used.", path)
        return None

    def _bridged(self, cut: Cut, below: Sequence[Cut], batch: Any) -> SavedRecord | None:
        """A record made from the last one below a cut, and kept."""
        folder = self._folder_of(cut)
        for lower in below:
            found = self._find_kept(lower, batch)
            if found is None or folder is None:
                continue
            made = record_at_later_cut(lower, cut, found, self.store, self.settings.dtype)
            if made is not None:
                logger.info("The record at %s was made from that at %s.", cut.name, lower.name)
                self._write(folder, made)
                return made
        return None

    def _resume(self, found: SavedRecord, batch_size: int) -> None:
        """Stand where the run stood that kept a record, if this is that run or one that need not look."""
        assert self._plan is not None
        if 0 < self._plan.first_epoch == self._epoch and not self.settings.trusted:  # the run that is resumed
            self._passes.resume(found.log, found.epochs, found.order)
        elif self.settings.trusted and found.order is not None and found.order.sizes[0] == batch_size:
            order = dataclasses.replace(found.order, first_epoch=self._epoch, start=0)
            self._passes.resume(found.log, found.epochs, order)

    def _gives_what_is_kept(self, cut: Cut, found: SavedRecord, batch: Any, fingerprints: np.ndarray) -> bool:
        """Whether the first samples of a batch have the values that are kept: a layer's settings may not
        tell all that it does."""
        x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        values = cut.prefix(keras.tree.map_structure(lambda t: t[:PROBED], x), self.settings.training)
        rows, _ = found.index.find(fingerprints[:PROBED])
        return _are_close(values, found.values.take(found.positions[rows])[0])


def _check_independence(prefix: Prefix, x: Any, values: Sequence[Any]) -> None:
    """Raise if what the prefix gives for a sample depends on the others in its batch.

    Raises:
        StorageError: Every second sample gives something else when the batch has no others.
    """
    rows = int(values[0].shape[0])
    second = np.arange(0, rows, 2)
    others = prefix(keras.tree.map_structure(lambda t: tf.gather(t, np.tile(second, 2)[:rows]), x))[0]
    for value, other in zip(values, others, strict=True):
        if not _are_close(tf.gather(value, second), other[: len(second)]):
            raise StorageError("What the frozen layers give for a sample depends on the others in its batch.")


def _are_close(a: Any, b: Any) -> bool:
    """Whether two values are the same but for rounding."""
    a, b = (np.asarray(tf.cast(v, tf.float32)) for v in (a, b))
    scale = np.abs(a).max() if a.size else 0.0
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-2, atol=1e-2 * scale, equal_nan=True)
