"""BatchQueue: the batches of an epoch, the next of which can be looked at before it is taken."""

from __future__ import annotations

import itertools
from typing import Any

from kerasft.typing import Batch


class BatchQueue:
    """Batches of an iterator, in order.

    Attributes:
        iterator: Where they come from: Keras's iterator over a data set, in a fit.
        given: How many of them the iterator has given.

    Example:
        >>> batches = BatchQueue(iter([1, 2, 3]))
        >>> batches.peek(), batches.take(), batches.take_up_to(5), batches.take()
        (1, 1, [2, 3], None)
    """

    def __init__(self, iterator: Any) -> None:
        self.iterator = iterator
        self._next: Batch = None
        self.given = 0

    @property
    def is_ahead(self) -> bool:
        """Whether a batch is held that the iterator has given already."""
        return self._next is not None

    def peek(self) -> Batch:
        """Return the next batch, which stays the next one; None at the end."""
        if self._next is None:
            self._next = next(self.iterator, None)
            self.given += self._next is not None
        return self._next

    def take(self) -> Batch:
        """Return the next batch; None at the end."""
        batch, self._next = self.peek(), None
        return batch

    def put_back(self, batch: Batch) -> None:
        """Let a batch that was taken be the next one."""
        self._next = batch

    def take_up_to(self, count: int) -> list[Batch]:
        """Return the next batches, fewer at the end."""
        held, self._next = [] if self._next is None else [self._next], None
        found = list(itertools.islice(self.iterator, count - len(held)))
        self.given += len(found)
        return [*held, *found]
