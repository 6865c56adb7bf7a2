"""Recorder: records the samples of a source, and finds out when later epochs can be drawn from the record."""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from collections.abc import Sequence

import keras
import numpy as np

from kerasft.cache.batch_queue import BatchQueue
from kerasft.cache.cuts import Cut, without_optionals
from kerasft.cache.divided_model import DividedModel
from kerasft.cache.kept_records import KeptRecords
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
        kept: Records of earlier runs, in which values are looked up.
        seed: For permutations: that of the settings, or of the run that is resumed.
        used_saved: Whether a record of an earlier run was used.
    """

    def __init__(self, settings: StepSettings, store: Storage) -> None:
        self._settings, self._store = settings, store
        self._epoch = 0
        self.seed, self.used_saved = settings.seed, False
        self._plan: StepPlan | None = None
        self._library: RecordLibrary | None = None
        if settings.folder is not None:
            self._library = RecordLibrary(settings.folder, settings.training, settings.dtype, store)
        self.recording, self.kept = Recording(store, settings.dtype), KeptRecords()
        self.forget()
        self.begin_epoch(0)

    def forget(self) -> None:
        """Begin from scratch."""
        self._plan = None
        self.restart()
        self._compare_seconds = 0.0  # that the last comparison took

    def restart(self) -> None:
        """Begin a new record."""
        self.recording.drop()
        self.recording, self.kept = Recording(self._store, self._settings.dtype), KeptRecords()
        self.recording.epoch = self._epoch
        self._looked_for_saved: set[int] = set()  # positions of cuts
        self._has_adopted = False  # a saved record in place of one of its own
        self._detector = RepeatDetector(self._settings.verify, self._settings.views, self.seed)
        self._detector.begin(self._epoch)
        self.follow(self._plan)

    def follow(self, plan: StepPlan | None) -> None:
        """Take from a plan what is known of the source."""
        self._plan = plan
        if plan is not None:
            self._detector.repeats, self._detector.ordered = plan.repeats, plan.ordered

    def resume(self, seed: int) -> None:
        """Take the seed of the run that is resumed."""
        self.seed = self._detector.seed = seed

    @property
    def epochs(self) -> list[int]:
        """The epochs that the source was watched in, by which the order of later ones is settled."""
        return self._detector.epochs

    @property
    def is_settled(self) -> bool:
        """Whether the order of later epochs is known."""
        return self._detector.order is not None

    @property
    def is_closed(self) -> bool:
        """Whether later epochs bring nothing new."""
        return self._detector.closed

    @property
    def derived_records(self) -> int:
        """How many records were made from records at earlier cuts."""
        return 0 if self._library is None else self._library.derived_records

    # --- an epoch

    def begin_epoch(self, epoch: int) -> None:
        """Begin an epoch."""
        self._epoch = epoch
        self.recording.epoch = epoch
        self._detector.begin(epoch)
        self._is_whole = True  # whether all steps so far were recorded

    def note_gap(self) -> None:
        """Note that steps of this epoch are not recorded."""
        self._is_whole = False

    def follow_cuts(self, cuts: Sequence[Cut]) -> None:
        """Record at these cuts from now on."""
        self.recording.forget_all_but(cuts)
        self.kept.drop_all_but(cuts)
        if not self.recording.has_inputs_for(cuts):
            self.restart()  # a deeper cut needed fewer extra inputs

    def forget_changed(self, cuts: Sequence[Cut]) -> None:
        """Forget the values before which weights have changed; the first cut is in force.

        Raises:
            StorageError: That happens again and again.
        """
        for cut in self.recording.forget_changed(cuts[:1] if self._detector.closed else cuts):
            self._looked_for_saved.discard(cut.position)
            self.kept.drop(cut)

    def replay(self, divided: DividedModel, batches: BatchQueue, plan: StepPlan) -> list[Rows] | None:
        """Return the rows of each batch of this epoch, if its order is settled.

        Args:
            divided: The model, which is prepared.
            batches: The batches of this epoch; the first one may be looked at.
            plan: What is known of the fit.

        Raises:
            StorageError: The source has changed.
        """
        self.look_for_saved(divided, batches, plan)
        if not self._detector.closed:
            return None
        if self._settings.views > 1 and not self.recording.has_all(divided.cut):
            self.restart()  # its epochs do not come again
            return None
        return self._compare(divided, batches).epoch(self._epoch)

    def see(self, fingerprints: np.ndarray) -> tuple[Rows, np.ndarray]:
        """Note a batch; return the row of each sample, and which of them are new.

        Raises:
            StorageError: The source does not give the same samples again.
        """
        rows, new = self.recording.index.find(fingerprints)
        self._detector.see(rows, new)
        return rows, new

    def see_again(self, fingerprints: np.ndarray) -> Rows:
        """Return the row of each sample of a batch that is read to record another cut.

        Raises:
            StorageError: There are samples that the source has not given before.
        """
        rows = self.recording.index.known(fingerprints)
        if (rows < 0).any():
            raise StorageError(self._detector.why_changed(int((rows < 0).sum()), len(rows)))
        return rows

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
        self._detector.end(self.recording.index.fingerprints())
        self.save(cuts)

    def settle(self, fingerprints: np.ndarray) -> None:
        """Settle the order by the first batch of an epoch that passes by, if that is still to be done."""
        if self._detector.closed and self._detector.order is None:
            self._settle(fingerprints)

    def _settle(self, fingerprints: np.ndarray) -> ReplayOrder:
        first = self.recording.index.known(fingerprints)
        everything = self.recording.index.fingerprints()
        return self._detector.settle_by_first_batch(None if (first < 0).any() else first, everything)

    def _compare(self, divided: DividedModel, batches: BatchQueue) -> ReplayOrder:
        """Compare the first batch of a replay with the record, if that is due; return the order."""
        order = self._detector.order
        if order is not None and not (self._detector.compares and self._is_due(order)):
            return order
        begin = time.perf_counter()
        batch = batches.peek()
        if batch is None:
            raise StorageError(f"The source had no data in epoch {self._epoch}.")
        fingerprints = divided.fingerprints(batch)
        if self._detector.compares:
            self.see_again(fingerprints)
        if order is None:
            order = self._settle(fingerprints)
            self.save(divided.cuts)
        self._compare_seconds = time.perf_counter() - begin
        return order

    def _is_due(self, order: ReplayOrder) -> bool:
        """Whether the source is compared again: less and less often, if it is slow to fill a buffer, say.

        Each epoch of a source that goes on reads as much, so that no clock decides what comes next.
        """
        if self._plan is not None and self._plan.goes_on:
            return True
        turn = self._epoch - order.first_epoch
        return self._compare_seconds <= COMPARE_SECONDS or not turn & (turn - 1)

    # --- saved records

    def save(self, cuts: Sequence[Cut]) -> None:
        """Write what is recorded in full where later runs find it."""
        if self._library is None or self._has_adopted:
            return
        for cut in cuts:
            record = self.recording.to_save(cut, self._detector.order)
            if record is not None and not self.kept.has_just(cut, self.recording.index):
                self._library.save(cut, record)

    def look_for_saved(self, divided: DividedModel, batches: BatchQueue, plan: StepPlan) -> None:
        """Find records that an earlier run has saved, for cuts for which that was not done yet."""
        if self._library is None:
            return
        cuts = [cut for cut in divided.cuts if cut.position not in self._looked_for_saved]
        cuts = [cut for cut in cuts if not len(self.recording) or not self.recording.has_all(cut)]
        batch = batches.peek() if cuts else None
        if batch is None:
            return
        x, _, _ = keras.utils.unpack_x_y_sample_weight(without_optionals(batch))
        find = functools.partial(self._find, self._library, FirstSamples(x, divided.fingerprints(batch)))
        earlier: list[Cut] | None = None
        for cut in cuts:
            self._looked_for_saved.add(cut.position)
            found = find(cut)
            if found is None:
                earlier = list(plan.cuts.earlier()) if earlier is None else earlier
                lower = [other for other in earlier if other.comes_before(cut)]
                found = self._library.derive(cut, lower, find)
            if found is not None:
                self.used_saved = True
                self._use(cut, found, batch_size=len(divided.fingerprints(batch)))

    def _find(self, library: RecordLibrary, first: FirstSamples, cut: Cut) -> SavedRecord | None:
        known = self._settings.known_data
        exact = None if known is None else library.find(cut, first, known)
        return library.find(cut, first) if exact is None else exact

    def _use(self, cut: Cut, found: SavedRecord, batch_size: int) -> None:
        """Take a saved record for the run's own if it is known to be; else look up values in it."""
        order = found.order
        is_known = found.index.digest() == self._settings.known_data
        if is_known and not len(self.recording) and order is not None and order.sizes[0] == batch_size:
            self._has_adopted = True
            self._detector.adopt(dataclasses.replace(order, first_epoch=self._epoch, start=0))
        if self._has_adopted and (not len(self.recording) or self.recording.has_samples_of(found)):
            self.recording.adopt(cut, found)
        else:
            self.kept.put(cut, found)
