"""What the epochs that were read from a source have shown of it: whether its samples come again, and how."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerasft.cache.records.replay_order import Order, order_of
from kerasft.cache.records.table import StorageError


class Passes:
    """Sees batches go by until later epochs can be told without the source.

    That is settled when an epoch has brought nothing new; when one has gone by, if the source repeats for
    certain or is not to be compared; when all views have, if there are several.

    Args:
        verify: Whether the source is compared with what was seen.
        views: How many epochs of a source that augments are recorded.
        seed: For permutations.

    Attributes:
        repeats: Whether the data are the same in each epoch for certain.
        ordered: Whether they come in the same order for certain.
        log: The rows of each batch that the source has given.
        count: In how many epochs.
        closed: Whether later epochs bring nothing new.
        order: How later epochs go on; None until the first of them has begun.
        wanted_order: That of an earlier run, which is taken if it fits.
        batches: The rows of each batch of this epoch.
    """

    def __init__(self, verify: bool, views: int, seed: int) -> None:
        self._verify, self._views, self._seed = verify, views, seed
        self.repeats = self.ordered = False
        self.log: list[np.ndarray] = []
        self.count = 0
        self.closed = False
        self.order: Order | None = None
        self.wanted_order: Order | None = None
        self._window = 0
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """An epoch begins."""
        self._epoch = epoch
        self.batches: list[np.ndarray] = []
        self._seen = self._new = 0

    @property
    def compares(self) -> bool:
        """Whether what comes from the source is to be held against what was seen."""
        return self._verify and self._views == 1 and not self.repeats

    def see(self, rows: np.ndarray, new: np.ndarray) -> None:
        """A batch goes by: its rows, and which of its samples are new.

        Raises:
            StorageError: The source does not give the same samples again.
        """
        self.batches.append(rows)
        self._seen, self._new = self._seen + len(rows), self._new + int(new.sum())
        if self.compares:
            if self.closed and new.any():
                raise StorageError(self.why_changed(int(new.sum()), len(new)))
            if self.count and len(self.batches) == 4 and 2 * self._new > self._seen:
                raise StorageError(self._why_unfit())

    def end(self, rows: int) -> None:
        """All of an epoch has gone by; there are `rows` samples by now.

        Raises:
            StorageError: The source does not give the same samples again, or epochs of other lengths.
        """
        if self.closed:
            return  # it went by for the sake of another cut
        before, self._window = self._window, len(self.batches)
        self.log += self.batches
        self.count += 1
        if not self.compares:
            self.closed = self.count >= self._views
        elif not self._new:
            self.closed = True
        elif self.count > 1 and (2 * self._new > self._seen or self.count > 3):
            raise StorageError(self._why_unfit())
        if self.closed and before not in (0, self._window):
            raise StorageError(
                f"Epoch {self._epoch} had {self._window} batches, and the one before it {before}: how many "
                "later ones have can't be told."
            )
        if self.closed and (self.repeats or self.count > 1):
            self._settle(self.log * 2 if self.ordered else self.log, rows, self._epoch + 1)

    def break_off(self) -> None:
        """A part of an epoch has gone by, which says nothing about whole ones."""
        if not self.closed:
            self.log, self.count, self._window = [], 0, 0
        self.begin(self._epoch)

    def meet(self, first: np.ndarray | None, rows: int) -> None:
        """The first epoch that can be told without the source begins; `first` are the rows of its first
        batch, None if not all of them are known."""
        same = first is not None and np.array_equal(first, self.log[0])
        self._settle(self.log * 2 if same else self.log, rows, self._epoch)

    def resume(self, log: Sequence[np.ndarray], count: int, order: Order | None) -> None:
        """Go on where an earlier run stood: after `count` epochs, or in an order that was settled."""
        self.log, self.count = list(log), count
        if order is not None and order.first_epoch <= self._epoch:
            self.order, self.closed, self._window = order, True, len(order.sizes)

    def _settle(self, log: Sequence[np.ndarray], rows: int, first_epoch: int) -> None:
        order = order_of(log, self._window, rows, self._seed, first_epoch, self._views)
        was = self.wanted_order
        if was is not None and order.seed is not None and was.seed is not None and was.sizes == order.sizes:
            order = was  # so that this run can be resumed too
        self.order = order

    def why_changed(self, new: int, of: int) -> str:
        """A sentence for samples that come although nothing new was to come."""
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
