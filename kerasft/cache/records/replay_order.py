"""In which order recorded samples come, epoch after epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasft.typing import Rows


@dataclass(frozen=True, eq=False)
class ReplayOrder:
    """In which order recorded rows come, epoch after epoch.

    Attributes:
        windows: Rows of an epoch; of each of several epochs in turn, if there are several.
        sizes: The sizes of an epoch's batches.
        seed: For a fresh permutation in each epoch; None keeps the order, and an epoch goes on in the
            first window where the one before it has ended.
        first_epoch: The first epoch that comes from the record.
        start: Batches of the first window that were taken before that epoch, if the order is kept.
        cycle: The sizes of the batches after which the source begins again, if the order is kept.
    """

    windows: tuple[Rows, ...]
    sizes: tuple[int, ...]
    seed: int | None
    first_epoch: int
    start: int = 0
    cycle: tuple[int, ...] = ()

    def epoch(self, epoch: int) -> list[Rows]:
        """The rows of each batch of an epoch."""
        if self.seed is None:
            bounds = np.cumsum([0, *self.cycle])
            first = self.start + (epoch - self.first_epoch) * len(self.sizes)
            indices = [(first + i) % len(self.cycle) for i in range(len(self.sizes))]
            return [self.windows[0][bounds[i] : bounds[i + 1]] for i in indices]
        rows = self.windows[(epoch - self.first_epoch) % len(self.windows)]
        shuffled = np.random.default_rng([self.seed, epoch]).permutation(rows)
        return np.split(shuffled[: sum(self.sizes)], np.cumsum(self.sizes)[:-1])

    def to_dict(self) -> dict[str, Any]:
        """Write it as plain values, for JSON."""
        return {**vars(self), "windows": [w.tolist() for w in self.windows]}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> ReplayOrder:
        """Read what `to_dict` returned."""
        windows = tuple(np.array(w, np.int64) for w in stored["windows"])
        return cls(
            **{**stored, "windows": windows, "sizes": tuple(stored["sizes"]), "cycle": tuple(stored["cycle"])}
        )


def infer_order(
    log: Sequence[Rows], window: int, fingerprints: np.ndarray, seed: int, first_epoch: int, views: int = 1
) -> ReplayOrder:
    """Infer in which order a source goes on whose batches so far were `log`.

    If they came in cycles, the order is kept; otherwise each epoch is a fresh permutation of what was seen.
    What is permuted is sorted by fingerprints first, so that the order of an epoch is a function of the
    samples, the seed and the epoch's number, whatever the order in which the samples came.

    Args:
        log: The rows of each batch since the source began, in epochs of `window` batches.
        window: Batches in an epoch.
        fingerprints: The fingerprint of each row.
        seed: For permutations.
        first_epoch: The first epoch that is to come from the record.
        views: How many epochs of an augmented source were recorded, to be used in turn.
    """

    def sort(*rows: Rows) -> Rows:
        found = np.concatenate(rows)
        return found[np.argsort(fingerprints[found], kind="stable")]

    sizes = tuple(len(batch) for batch in log[-window:])
    if views > 1:
        windows = [sort(*log[i * window : (i + 1) * window]) for i in range(views)]
        return ReplayOrder(tuple(windows), sizes, seed, first_epoch)
    for period in range(1, len(log) - (window + 1) // 2 + 1):  # half an epoch must have come again
        if all(np.array_equal(a, b) for a, b in zip(log, log[period:], strict=False)):
            cycle = tuple(len(batch) for batch in log[:period])
            return ReplayOrder(
                (np.concatenate(log[:period]),), sizes, None, first_epoch, len(log) % period, cycle
            )
    seen = np.concatenate(log[-window:])
    others = np.setdiff1d(np.arange(len(fingerprints)), seen)
    return ReplayOrder((sort(seen, others),), sizes, seed, first_epoch)
