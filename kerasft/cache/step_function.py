"""CachedStepFunction: stands in for a model's training or test function, and records its frozen part.

An epoch either reads the source, and runs the prefix for the samples that the record lacks, or is a replay,
which reads the record alone.
"""

from __future__ import annotations

from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from kerasft import _keras
from kerasft.cache.batch_queue import BatchQueue
from kerasft.cache.cuts import NoCutError, leaves, without_optionals
from kerasft.cache.divided_model import DividedModel
from kerasft.cache.function_slot import FunctionSlot
from kerasft.cache.recorder import Recorder
from kerasft.cache.records import Storage, StorageError
from kerasft.cache.step_plan import StepPlan, StepSettings
from kerasft.typing import Batch, Columns, Logs, Rows

CHUNK_BYTES = 2**26  # of recorded rows that go into one call of several steps


class StepHost(Protocol):
    """What a step function asks of the cache that it belongs to."""

    def is_running(self) -> bool:
        """Whether the `fit` that the cache belongs to is the one that calls."""

    def stop(self, reason: str, for_good: bool) -> None:
        """Leave the coming steps to Keras: until the next depth, or for the rest of the fit."""


class CachedStepFunction:
    """Stands in for `model.train_function`, or `model.test_function`.

    Args:
        model: The model that is trained.
        settings: What does not change.
        store: Where tables are.
        host: The cache that it belongs to.

    Attributes:
        slot: Where the model has this function, or its own.
    """

    def __init__(self, model: keras.Model, settings: StepSettings, store: Storage, host: StepHost) -> None:
        self._model, self._host = model, host
        self.slot = FunctionSlot(model, settings.training)
        self._plan: StepPlan | None = None
        self._divided = DividedModel(model, settings.training)
        self._recorder = Recorder(settings, store)
        self._spared_cost = 0.0
        self.begin_epoch(0)

    # --- what the cache does with it

    def retrace(self, plan: StepPlan | None) -> None:
        """Trace the steps again before the next one, by a plan; without one, the model's function steps."""
        self._plan = plan
        self._divided.retrace()
        self._recorder.follow(plan)
        self._logs: list[Logs] = []

    def forget(self) -> None:
        """Begin from scratch, without a record and without traced steps."""
        self.retrace(None)
        self._divided.forget()
        self._recorder.forget()
        self._spared_cost = 0.0

    def begin_epoch(self, epoch: int) -> None:
        """Begin an epoch: the next call is its first one."""
        self._recorder.begin_epoch(epoch)
        self._is_first_call = True
        self._replay: list[Rows] | None = None
        self._next = 0
        self._logs = []
        self._batches: BatchQueue | None = None  # of the iterator that this epoch's calls bring
        self._halted = False

    def end_epoch(self, whole: bool) -> None:
        """End an epoch, and learn from it whether the source repeats.

        Args:
            whole: Whether the epoch was not broken off.
        """
        if self._replay is not None or not self._divided.is_prepared:
            return
        try:
            self._recorder.end_epoch(whole, self._divided.cuts)
        except StorageError as error:
            self._halt(error)

    # --- what it reports

    @property
    def replays(self) -> bool:
        """Whether this epoch comes from the record."""
        return self._replay is not None

    @property
    def began_with_saved(self) -> bool:
        """Whether the record is one that an earlier run has saved."""
        return self._recorder.began_with_saved

    @property
    def samples(self) -> int:
        """How many samples are recorded."""
        return len(self._recorder.recording)

    @property
    def digest(self) -> str:
        """A name for the set of recorded samples, whatever their order."""
        return self._recorder.recording.index.digest()

    @property
    def seconds_spared(self) -> float:
        """The time that the prefix would have taken for the samples that came from the record, estimated by
        its fastest batch; 0 if it never ran."""
        return self._spared_cost * self._divided.seconds_per_cost

    @property
    def cut_name(self) -> str:
        """The layer at the cut in force."""
        return self._divided.cut.name if self._divided.is_prepared else ""

    @property
    def traced_prefixes(self) -> int:
        """How often the frozen layers were made ready to run."""
        return self._divided.traced_prefixes

    @property
    def derived_records(self) -> int:
        """How many records were made from records at earlier cuts."""
        return self._recorder.derived_records

    # --- in place of Keras's function

    def __call__(self, iterator: Any) -> Logs:
        """Take as many steps as Keras expects of one call; return the logs of the last one."""
        plan, batches = self._plan, self._batches
        if plan is None:
            return self._call_stock(iterator)
        if batches is None or iterator is not batches.iterator:
            if not isinstance(iterator, tf.data.Iterator) or not self._host.is_running():
                return self._call_stock(iterator)  # train_on_batch, or a later fit after an interrupted one
            batches = self._batches = BatchQueue(iterator)
        try:
            self._get_ready(batches, plan)
        except (NoCutError, StorageError) as error:
            self._halt(error)
        return self._from_source(batches) if self._replay is None else self._from_record(self._replay, plan)

    def _get_ready(self, batches: BatchQueue, plan: StepPlan) -> None:
        """Divide the model if that is to be done, and begin the epoch if this is its first call."""
        is_new = not self._divided.is_prepared
        if is_new:
            self._divided.prepare(plan.cuts, batches.iterator.element_spec)
            self._recorder.follow_cuts(self._divided.cuts)
        if self._is_first_call or is_new:
            self._recorder.forget_changed(self._divided.cuts)
        if self._is_first_call:
            self._is_first_call = False
            self._replay = self._recorder.replay(self._divided, batches, plan)
        elif is_new and self._replay is not None:
            if not self._recorder.recording.has_all(self._divided.cut):
                self._replay = None  # the depth has changed within the epoch
                self._recorder.note_gap()

    def _halt(self, error: Exception) -> None:
        """Leave this and the coming steps to Keras's own function."""
        self._halted = True
        self._recorder.note_gap()
        if isinstance(error, NoCutError):  # found while a batch was in hand; the next depth may have a cut
            self._recorder.restart()
        self._host.stop(str(error), not isinstance(error, NoCutError))

    def _call_stock(self, iterator: Any) -> Logs:
        if self.slot.stock is None:
            raise RuntimeError("The model has no function of its own yet.")
        return self.slot.stock(iterator)

    # --- steps

    def _from_source(self, batches: BatchQueue) -> Logs:
        steps = _keras.steps_per_call(self._model)
        logs = None
        for done in range(steps):
            if self._halted:
                return self._from_stock(batches, steps - done, logs)
            batch = batches.take()
            if batch is None:
                break
            try:
                logs = self._record_and_step(without_optionals(batch))
            except (NoCutError, StorageError) as error:
                batches.put_back(batch)
                self._halt(error)
                return self._from_stock(batches, steps - done, logs)
        if logs is None:
            raise StopIteration
        return logs

    def _from_stock(self, batches: BatchQueue, steps: int, logs: Logs) -> Logs:
        """Take the rest of a call's steps by Keras's own function, which goes on from here."""
        if not batches.is_ahead and steps == _keras.steps_per_call(self._model):
            return self._call_stock(batches.iterator)
        left = batches.take_up_to(steps)
        return self._call_stock(iter(left)) if left else logs

    def _from_record(self, replay: list[Rows], plan: StepPlan) -> Logs:
        if not self._logs:
            if self._next == len(replay):
                raise StopIteration
            self._take_steps(replay[self._next :], plan)
        served, self._logs = self._logs[: plan.steps], self._logs[plan.steps :]
        return served[-1]

    def _take_steps(self, left: list[Rows], plan: StepPlan) -> None:
        """Take the next steps from the record, as many in one call as may be."""
        row_bytes = max(1, self._recorder.recording.row_bytes(self._divided.cut))
        fit = max(1, CHUNK_BYTES // (row_bytes * max(1, len(left[0]))))
        batches = left[: max(fit, plan.steps) if plan.ahead else plan.steps]
        self._next += len(batches)
        columns = self._take(np.concatenate(batches))
        suffix = self._divided.suffix(columns, self._recorder.recording.extra_inputs)
        self._logs = suffix.steps(columns, [len(batch) for batch in batches])

    def _record_and_step(self, batch: Batch) -> Logs:
        """Take one step on data from the source, which are recorded."""
        rows, new = self._recorder.see(self._divided.fingerprints(batch))
        columns = self._columns(batch, rows, new)
        return self._divided.suffix(columns, self._recorder.recording.extra_inputs).step(columns)

    def _columns(self, batch: Batch, rows: Rows, new: np.ndarray) -> Columns:
        """Return what the step needs for a batch, from the record where it has it."""
        recording = self._recorder.recording
        if not new.any() and not recording.lacks(self._divided.cuts, rows):
            return self._take(rows)
        values, extra_inputs = self._divided.run_prefix(batch)
        _, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        return recording.add(self._divided.cuts, rows, new, values, extra_inputs, leaves((y, weight)))

    def _take(self, rows: Rows) -> Columns:
        self._spared_cost += len(rows) * self._divided.cut.cost
        return self._recorder.recording.take(self._divided.cut, rows)
