"""Whether the samples of a source come again, and in which order, found by watching epochs go by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerasft.cache.records.replay_order import ReplayOrder, infer_order
from kerasft.cache.records.table import StorageError
from kerasft.typing import Rows


class RepeatDetector:
    """Watches the batches of a source until later epochs can be drawn without it.

    That is settled after an epoch without a new sample; after any epoch, if the source repeats for certain or
    is not to be compared; after as many epochs as there are views, if there are several.

    Args:
        verify: Whether the source is compared with what was seen.
        views: How many epochs of a source that augments are recorded.
        seed: For permutations.

    Attributes:
        seed: The same.
        repeats: Whether the data are the same in each epoch for certain.
        ordered: Whether they come in the same order for certain.
        log: The rows of each batch that the source has given.
        epochs: Which epochs `log` covers.
        closed: Whether later epochs bring nothing new.
        order: How later epochs go on; None until the first of them has begun.
        batches: The rows of each batch of this epoch.
    """

    def __init__(self, verify: bool, views: int, seed: int) -> None:
        self._verify, self._views, self.seed = verify, views, seed
        self.repeats = self.ordered = False
        self.log: list[Rows] = []
        self.epochs: list[int] = []
        self.closed = False
        self.order: ReplayOrder | None = None
        self._window = 0
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Begin an epoch."""
        self._epoch = epoch
        self.batches: list[Rows] = []
        self._seen = self._new = 0

    @property
    def compares(self) -> bool:
        """Whether what comes from the source is to be compared with what was seen."""
        return self._verify and self._views == 1 and not self.repeats

    def see(self, rows: Rows, new: np.ndarray) -> None:
        """Note a batch: its rows, and which of its samples are new.

        Raises:
            StorageError: The source does not give the same samples again.
        """
        self.batches.append(rows)
        self._seen, self._new = self._seen + len(rows), self._new + int(new.sum())
        if self.closed and new.any():
            raise StorageError(self.why_changed(int(new.sum()), len(new)))
        if self.compares:
            if self.epochs and len(self.batches) == 4 and 2 * self._new > self._seen:
                raise StorageError(self._why_unfit())

    def end(self, fingerprints: np.ndarray) -> None:
        """End a whole epoch.

        Args:
            fingerprints: The fingerprint of each row by now.

        Raises:
            StorageError: The source does not give the same samples again, or epochs of other lengths.
        """
        before, self._window = self._window, len(self.batches)
        self.log += self.batches
        self.epochs.append(self._epoch)
        if not self.compares:
            self.closed = len(self.epochs) >= self._views
        elif not self._new:
            self.closed = True
        elif len(self.epochs) > 1 and (2 * self._new > self._seen or len(self.epochs) > 3):
            raise StorageError(self._why_unfit())
        if self.closed and before not in (0, self._window):
            raise StorageError(
                f"Epoch {self._epoch} had {self._window} batches, and the one before it {before}: how many "
                "later ones have can't be told."
            )
        if self.closed and (self.repeats or len(self.epochs) > 1):
            self._settle(self.log * 2 if self.ordered else self.log, fingerprints, self._epoch + 1)

    def break_off(self) -> None:
        """End an epoch that was broken off, which shows nothing about whole ones."""
        self.log, self.epochs, self._window = [], [], 0
        self.begin(self._epoch)

    def settle_by_first_batch(self, first: Rows | None, fingerprints: np.ndarray) -> ReplayOrder:
        """Settle the order when the first epoch that can be drawn from the record begins.

        Args:
            first: The rows of the epoch's first batch; None if not all of them are known.
            fingerprints: The fingerprint of each row.

        Returns:
            The order of later epochs.
        """
        same = first is not None and np.array_equal(first, self.log[0])
        return self._settle(self.log * 2 if same else self.log, fingerprints, self._epoch)

    def adopt(self, order: ReplayOrder) -> None:
        """Draw this and later epochs in an order that is known, without having seen the source."""
        self.order, self.closed, self._window = order, True, len(order.sizes)

    def _settle(self, log: Sequence[Rows], fingerprints: np.ndarray, first_epoch: int) -> ReplayOrder:
        self.order = infer_order(log, self._window, fingerprints, self.seed, first_epoch, self._views)
        return self.order

    def why_changed(self, new: int, of: int) -> str:
        """A sentence for new samples after an epoch that had none."""
        return (
            f"{new} of {of} samples in epoch {self._epoch} had not been seen before, although an epoch had "
            "brought nothing new: the source has changed."
        )

    def _why_unfit(self) -> str:
        return (
            f"{self._new:,} of the {self._seen:,} samples of epoch {self._epoch} had not been seen before: "
            "the source augments, or an epoch is less than all of its data. Augment in layers after the "
            "frozen ones, or record several epochs with augmented_views."
        )
