"""Recorder: records the samples of a source, and finds out when later epochs can be drawn from the record."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence

import keras
import numpy as np

from kerasft.cache.batch_queue import BatchQueue
from kerasft.cache.cuts import Cut, without_optionals
from kerasft.cache.divided_model import DividedModel
from kerasft.cache.record_library import FirstSamples, RecordLibrary
from kerasft.cache.recording import Recording
from kerasft.cache.records import RepeatDetector, ReplayOrder, SavedRecord, Storage, StorageError
from kerasft.cache.step_plan import StepPlan, StepSettings
from kerasft.typing import Rows

logger = logging.getLogger(__name__)

COMPARE_SECONDS = 0.2  # a comparison that takes longer is made in the first, second, fourth, eighth … replay


class Recorder:
    """What is recorded of one source, over the epochs of a fit.

    Args:
        settings: What does not change.
        store: Where tables are.

    Attributes:
        recording: What is recorded.
        began_with_saved: Whether the record is one that an earlier run has saved.
    """

    def __init__(self, settings: StepSettings, store: Storage) -> None:
        self._settings, self._store = settings, store
        self._epoch = 0
        self._plan: StepPlan | None = None
        self._library: RecordLibrary | None = None
        if settings.folder is not None:
            self._library = RecordLibrary(settings.folder, settings.training, settings.dtype, store)
        self.recording = Recording(store, settings.dtype)
        self.forget()
        self.begin_epoch(0)

    def forget(self) -> None:
        """Begin from scratch."""
        self._plan = None
        self.restart()
        self._looked_for_saved = False
        self._compare_seconds = 0.0  # that the last comparison took

    def restart(self) -> None:
        """Begin a new record."""
        self.recording.drop()
        self.recording = Recording(self._store, self._settings.dtype)
        self._detector = RepeatDetector(self._settings.verify, self._settings.views, self._settings.seed)
        self._detector.begin(self._epoch)
        self.began_with_saved = False
        self.follow(self._plan)

    def follow(self, plan: StepPlan | None) -> None:
        """Take from a plan what is known of the source."""
        self._plan = plan
        if plan is not None:
            self._detector.repeats, self._detector.ordered = plan.repeats, plan.ordered

    @property
    def derived_records(self) -> int:
        """How many records were made from records at earlier cuts."""
        return 0 if self._library is None else self._library.derived_records

    # --- an epoch

    def begin_epoch(self, epoch: int) -> None:
        """Begin an epoch."""
        self._epoch = epoch
        self._detector.begin(epoch)
        self._is_whole = True  # whether all steps so far were recorded

    def note_gap(self) -> None:
        """Note that steps of this epoch are not recorded."""
        self._is_whole = False

    def follow_cuts(self, cuts: Sequence[Cut]) -> None:
        """Record at these cuts from now on."""
        self.recording.forget_all_but(cuts)
        if not self.recording.has_inputs_for(cuts):
            self.restart()  # a deeper cut needed fewer extra inputs

    def forget_changed(self, cuts: Sequence[Cut]) -> None:
        """Forget the values before which weights have changed; the first cut is in force.

        Raises:
            StorageError: That happens again and again.
        """
        self.recording.forget_changed(cuts[:1] if self._detector.closed else cuts)

    def replay(self, divided: DividedModel, batches: BatchQueue, plan: StepPlan) -> list[Rows] | None:
        """Return the rows of each batch of this epoch, if it can be drawn from the record.

        Args:
            divided: The model, which is prepared.
            batches: The batches of this epoch; the first one may be looked at.
            plan: What is known of the fit.

        Raises:
            StorageError: The source has changed.
        """
        if not self._looked_for_saved:
            self._looked_for_saved = True
            if self._library is not None:
                self._use_saved(self._library, divided, batches, plan)
        if not self._detector.closed:
            return None
        if self.recording.has_all(divided.cut):
            order = self._compare(divided, batches)
            batches.drop()
            return order.epoch(self._epoch)
        if self._settings.views > 1:  # its epochs do not come again
            self.restart()
        return None

    def see(self, fingerprints: np.ndarray) -> tuple[Rows, np.ndarray]:
        """Note a batch; return the row of each sample, and which of them are new.

        Raises:
            StorageError: The source does not give the same samples again.
        """
        rows, new = self.recording.index.find(fingerprints)
        if new.any() and self.began_with_saved:  # that record is of other data, or of a part of them
            logger.info("The data differ from those of the kept record; it is not used.")
            self._is_whole = not self._detector.batches  # the batches before this one are not recorded
            self.restart()
            rows, new = self.recording.index.find(fingerprints)
        self._detector.see(rows, new)
        return rows, new

    def end_epoch(self, whole: bool, cuts: Sequence[Cut]) -> None:
        """End an epoch that read the source, and learn from it whether the source repeats.

        Args:
            whole: Whether the epoch was not broken off.
            cuts: The cuts whose records are saved if they are complete.

        Raises:
            StorageError: It does not repeat.
        """
        if not self._detector.batches:
            return
        if not (whole and self._is_whole):
            self._detector.break_off()
            return
        was_closed = self._detector.closed
        self._detector.end(len(self.recording))
        if not was_closed:
            self._save(cuts)

    def _compare(self, divided: DividedModel, batches: BatchQueue) -> ReplayOrder:
        """Compare the first batch of a replay with the record, if that is due; return the order."""
        order, index = self._detector.order, self.recording.index
        if order is not None and not (self._detector.compares and self._is_due(order)):
            return order
        begin = time.perf_counter()
        batch = batches.peek()
        if batch is None:
            raise StorageError(f"The source had no data in epoch {self._epoch}.")
        fingerprints = divided.fingerprints(batch)
        known = [fingerprint in index for fingerprint in fingerprints.tolist()]
        if self._detector.compares and not all(known):
            raise StorageError(self._detector.why_changed(known.count(False), len(known)))
        if order is None:
            first = index.find(fingerprints)[0] if all(known) else None
            order = self._detector.settle_by_first_batch(first, len(index))
            self._save(divided.cuts)
        self._compare_seconds = time.perf_counter() - begin
        return order

    def _is_due(self, order: ReplayOrder) -> bool:
        """Whether the source is compared again: less and less often, if it is slow to fill a buffer, say."""
        turn = self._epoch - order.first_epoch
        return self._compare_seconds <= COMPARE_SECONDS or not turn & (turn - 1)

    # --- saved records

    def _save(self, cuts: Sequence[Cut]) -> None:
        """Write what is recorded in full where later runs find it."""
        if self._library is None or self.began_with_saved:
            return
        for cut in cuts:
            record = self.recording.to_save(cut, self._detector)
            if record is not None:
                self._library.save(cut, record)

    def _use_saved(
        self, library: RecordLibrary, divided: DividedModel, batches: BatchQueue, plan: StepPlan
    ) -> None:
        """Begin with records that an earlier run has saved, if they have the first samples."""
        batch = batches.peek()
        if batch is None:
            return
        x, _, _ = keras.utils.unpack_x_y_sample_weight(without_optionals(batch))
        first = FirstSamples(x, divided.fingerprints(batch))
        earlier: list[Cut] | None = None
        for cut in divided.cuts:
            found = library.find(cut, self.recording, first)
            if found is None:
                earlier = list(plan.cuts.earlier()) if earlier is None else earlier
                lower = [other for other in earlier if other.position < cut.position]
                found = library.derive(cut, lower, self.recording, first)
            if found is None:
                continue
            if not len(self.recording):
                self.began_with_saved, self._detector.wanted_order = True, found.order
                self._resume(found, len(first.fingerprints), plan)
            self.recording.use(cut, found)

    def _resume(self, found: SavedRecord, batch_size: int, plan: StepPlan) -> None:
        """Continue where the run stood that saved a record, if this is that run or trusts its data."""
        trusts_data = self._settings.trusts_data
        if 0 < plan.first_epoch == self._epoch and not trusts_data:  # the run that is resumed
            self._detector.resume(found.log, found.epochs, found.order)
        elif trusts_data and found.order is not None and found.order.sizes[0] == batch_size:
            order = dataclasses.replace(found.order, first_epoch=self._epoch, start=0)
            self._detector.resume(found.log, found.epochs, order)
