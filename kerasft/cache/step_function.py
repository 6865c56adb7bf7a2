"""CachedStepFunction: stands in for a model's training or test function, and records its frozen part.

An epoch either reads the source, and runs the prefix for the samples that the record lacks, or is a replay,
which reads the record alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from kerasft import _keras
from kerasft.cache.batch_queue import BatchQueue
from kerasft.cache.batch_recorder import BatchRecorder
from kerasft.cache.cuts import NoCutError, Suffix, without_optionals
from kerasft.cache.function_slot import FunctionSlot
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
        records: What it records.
    """

    def __init__(self, model: keras.Model, settings: StepSettings, store: Storage, host: StepHost) -> None:
        self._model, self._host = model, host
        self.slot = FunctionSlot(model, settings.training)
        self._plan: StepPlan | None = None
        self.records = BatchRecorder(model, settings, store)
        self.begin_epoch(0)

    # --- what the cache does with it

    def retrace(self, plan: StepPlan | None) -> None:
        """Trace the steps again before the next one, by a plan; without one, the model's function steps."""
        self._plan = plan
        self.records.divided.retrace()
        self.records.recorder.follow(plan)
        self._logs: list[Logs] = []

    def forget(self) -> None:
        """Begin from scratch, without a record and without traced steps."""
        self.retrace(None)
        self.records.forget()

    def begin_epoch(self, epoch: int) -> None:
        """Begin an epoch: the next call is its first one."""
        self.records.recorder.begin_epoch(epoch)
        self._is_first_call = True
        self._replay: list[Rows] | None = None
        self._next = 0
        self._logs = []
        self._batches: BatchQueue | None = None  # of the iterator that this epoch's calls bring
        self._halted = self._has_read = False

    def end_epoch(self, whole: bool) -> None:
        """End an epoch, and learn from it whether the source repeats.

        Args:
            whole: Whether the epoch was not broken off.
        """
        if self._replay is not None:
            return
        try:
            self.records.recorder.end_epoch(whole, self.records.divided.cuts)
        except StorageError as error:
            self._halt(error)

    # --- a run that is resumed

    def watch(
        self,
        epoch: int,
        spec: Any,
        replay: Callable[[Callable[[Batch], object]], None],
        recorded: Mapping[int, int] | None = None,
    ) -> None:
        """Record an epoch that passes by without training, as it was recorded when it trained.

        Args:
            epoch: Its number.
            spec: The specification of its data.
            replay: Lets it pass by, and calls what it is given with each batch.
            recorded: As in `Resumed`.
        """

        def look(batch: Batch) -> None:
            if self._halted or self._plan is None:
                return
            try:
                self.records.watch(batch, self._plan, spec, self._is_first_call, recorded)
            except (NoCutError, StorageError) as error:
                self._halt(error)
            self._is_first_call = False

        self.begin_epoch(epoch)
        replay(look)
        self.end_epoch(whole=True)

    # --- what it reports

    @property
    def replays(self) -> bool:
        """Whether this epoch comes from the record, and the source was not read to complete it."""
        return self._replay is not None and not self._has_read

    @property
    def given(self) -> int | None:
        """How many batches the source has given in an epoch that comes from the record; None in others."""
        if self._replay is None or self._halted:
            return None
        return 0 if self._batches is None else self._batches.given

    # --- in place of Keras's function

    def __call__(self, iterator: Any) -> Logs:
        """Take as many steps as Keras expects of one call; return the logs of the last one."""
        self.slot.take_out(self)  # whatever happens, the model has its own function after each call
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
        records = self.records
        divided, recorder = records.divided, records.recorder
        is_new = not divided.is_prepared
        records.prepare(plan, batches.iterator.element_spec)
        if self._is_first_call or is_new:
            recorder.forget_changed(divided.cuts)
        if self._is_first_call:
            self._is_first_call = False
            self._replay = recorder.replay(divided, batches, plan)
        elif is_new and self._replay is not None:
            recorder.look_for_saved(divided, batches, plan)
        if self._replay is not None and not records.is_complete():
            self._has_read = True
            self._replay = records.complete(batches, self._replay)

    def _halt(self, error: Exception) -> None:
        """Leave this and the coming steps to Keras's own function."""
        self._halted, self._replay = True, None
        self.records.recorder.note_gap()
        if isinstance(error, NoCutError):  # found while a batch was in hand; the next depth may have a cut
            self.records.recorder.restart()
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
                columns = self.records.record(without_optionals(batch))
                logs = self._suffix(columns).step(columns)
            except (NoCutError, StorageError) as error:
                batches.put_back(batch)
                self._halt(error)
                return self._from_stock(batches, steps - done, logs)
        if logs is None and not batches.given:
            return self._call_stock(batches.iterator)  # which says of empty data what Keras says
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
        row_bytes = max(1, self.records.recorder.recording.row_bytes(self.records.divided.cut))
        fit = max(1, CHUNK_BYTES // (row_bytes * max(1, len(left[0]))))
        batches = left[: max(fit, plan.steps) if plan.ahead else plan.steps]
        self._next += len(batches)
        columns = self.records.take(np.concatenate(batches))
        self._logs = self._suffix(columns).steps(columns, [len(batch) for batch in batches])

    def _suffix(self, columns: Columns) -> Suffix:
        recording, divided = self.records.recorder.recording, self.records.divided
        return divided.suffix(columns, recording.masked(divided.cut), recording.extra_inputs)
