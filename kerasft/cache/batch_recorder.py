"""BatchRecorder: runs a model's frozen part on batches that have samples that are not recorded yet."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerasft.cache.batch_queue import BatchQueue
from kerasft.cache.cuts import NoCutError, leaves, without_optionals
from kerasft.cache.divided_model import DividedModel
from kerasft.cache.recorder import Recorder
from kerasft.cache.records import Storage, StorageError
from kerasft.cache.step_plan import StepPlan, StepSettings
from kerasft.typing import Batch, Columns, Rows

MOST_EPOCHS = 4  # of a source that are read until all its samples have come again


class BatchRecorder:
    """Records what a model's frozen part gives, batch by batch.

    Args:
        model: The model that is trained.
        settings: What does not change.
        store: Where tables are.

    Attributes:
        divided: The model in two parts.
        recorder: What is recorded, and in which order later epochs come.
    """

    def __init__(self, model: keras.Model, settings: StepSettings, store: Storage) -> None:
        self.divided = DividedModel(model, settings.training)
        self.recorder = Recorder(settings, store)
        self._spared_cost = 0.0

    def forget(self) -> None:
        """Begin from scratch."""
        self.divided.forget()
        self.recorder.forget()
        self._spared_cost = 0.0

    @property
    def seconds_spared(self) -> float:
        """The time that the prefix would have taken for the samples that came from the record, estimated by
        its fastest batch; 0 if it never ran."""
        return self._spared_cost * self.divided.seconds_per_cost

    def prepare(self, plan: StepPlan, spec: Any) -> None:
        """Divide the model for data with a specification, if that is to be done.

        Raises:
            NoCutError: There is no cut.
            StorageError: Such data can't be recorded.
        """
        if not self.divided.is_prepared:
            self.divided.prepare(plan.cuts, spec)
            self.recorder.follow_cuts(self.divided.cuts)

    def record(self, batch: Batch) -> Columns:
        """Record a batch; return what its step needs.

        Raises:
            NoCutError: Tracing shows that there is no cut.
            StorageError: There is no room, or the source does not give the same samples again.
        """
        fingerprints = self.divided.fingerprints(batch)
        return self._columns(batch, fingerprints, *self.recorder.see(fingerprints))

    def take(self, rows: Rows) -> Columns:
        """What a step on some rows needs, from the record."""
        self._spared_cost += len(rows) * self.divided.cut.cost
        return self.recorder.recording.take(self.divided.cut, rows)

    def is_complete(self) -> bool:
        """Whether all samples are recorded at the cut in force."""
        return self.recorder.recording.has_all(self.divided.cut)

    def complete(self, batches: BatchQueue, replay: list[Rows]) -> list[Rows]:
        """Read the source to record what is missing at the cut in force, without training.

        Args:
            batches: The batches of this epoch.
            replay: The rows of the steps that are to be taken.

        Returns:
            `replay`: the order of steps is the same whether or not something was missing. If the source does
            not give all samples again, the rows that it gave.

        Raises:
            NoCutError: Tracing shows that there is no cut.
            StorageError: There is no room, or the source gives samples that it did not give before.
        """
        read: list[Rows] = []
        while not self.is_complete():
            batch = batches.take()
            if batch is None or len(read) > MOST_EPOCHS * len(replay):
                return read[: len(replay)]
            try:
                fingerprints = self.divided.fingerprints(batch)
                rows = self.recorder.see_again(fingerprints)
                self._columns(without_optionals(batch), fingerprints, rows, np.zeros(len(rows), bool))
                if not read:  # later there would be no way back
                    self.recorder.recording.make_room(self.divided.cuts)
            except (NoCutError, StorageError):
                batches.put_back(batch)
                raise
            read.append(rows)
        self.recorder.save(self.divided.cuts)
        return replay

    def watch(
        self, batch: Batch, plan: StepPlan, spec: Any, is_first: bool, recorded: Mapping[int, int] | None
    ) -> None:
        """Record a batch that passes by, as it was recorded when a run trained on it that is resumed.

        Args:
            batch: The batch.
            plan: What is known of the fit.
            spec: The specification of the data.
            is_first: Whether it is the first one of its epoch.
            recorded: As in `Resumed`.

        Raises:
            StorageError: There is no room, or the source does not give the same samples again.
        """
        if is_first:
            self.divided.describe(spec)
            with contextlib.suppress(NoCutError):  # the order of later epochs is settled all the same
                self.prepare(plan, spec)
                self.recorder.forget_changed(self.divided.cuts)
                self.recorder.look_for_saved(self.divided, BatchQueue(iter([batch])), plan)
        batch, cuts, epoch = without_optionals(batch), self.divided.cuts, self.recorder.recording.epoch
        if self.recorder.is_closed:
            self.recorder.settle(self.divided.fingerprints(batch))
        elif cuts and (
            recorded is None or recorded.get(cuts[0].position, epoch + 1) <= epoch or cuts[0].extra_inputs
        ):
            self.record(batch)
        else:
            _, new = self.recorder.see(self.divided.fingerprints(batch))
            self.recorder.recording.add_targets(new, leaves(keras.utils.unpack_x_y_sample_weight(batch)[1:]))

    def _columns(self, batch: Batch, fingerprints: np.ndarray, rows: Rows, new: np.ndarray) -> Columns:
        """Return what the step needs for a batch; record what is missing of it."""
        recording, cuts = self.recorder.recording, self.divided.cuts
        if not new.any() and not recording.lacks(cuts, rows):
            return self.take(rows)
        _, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        cuts = recording.with_room(cuts)
        found = self.recorder.kept.look_up(cuts, fingerprints)
        if found is None:
            found = self.divided.run_prefix(batch)
            cuts = self.divided.cuts  # tracing may have changed them
        else:
            self._spared_cost += len(rows) * self.divided.cut.cost
        return recording.add(cuts, rows, new, *found, leaves((y, weight)))
