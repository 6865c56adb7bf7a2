"""A random sample of rows that come one after another, in bounded memory."""

from __future__ import annotations

import keras
import numpy as np
from scipy.sparse import csr_array

Array = np.ndarray


class Drawn:
    """Each row that comes is in the sample with the same chance, however many come (reservoir sampling).

    Args:
        size: The most rows of the sample.
        seed: Of the draw.

    Attributes:
        seen: How many rows have come.

    References:
        Vitter (1985), Random sampling with a reservoir, ACM Transactions on Mathematical Software 11.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        self._size, self._random = size, np.random.default_rng(seed)
        self.seen = 0

    def places(self, count: int) -> dict[int, int]:
        """Places in the sample for some of the next rows: from the place to the row, 0 to `count - 1`."""
        found: dict[int, int] = {}
        for row in range(count):
            place = self.seen if self.seen < self._size else int(self._random.integers(self.seen + 1))
            if place < self._size:
                found[place] = row
            self.seen += 1
        return found


class Rows:
    """Features of sampled rows: all of them, or as many random sums of them as fit.

    Args:
        size: The most rows.
        features: The features of a row.
        most: The most features that are kept as they are.
        seed: Of the random sums.

    Attributes:
        projected: Whether random sums are kept.

    References:
        Charikar, Chen & Farach-Colton (2002), Finding frequent items in data streams, for sums with random
        signs; they keep the products of rows on average.
    """

    def __init__(self, size: int, features: int, most: int, seed: int = 0) -> None:
        self.projected = features > most
        self._kept = np.empty((size, min(features, most)), "float32")
        if self.projected:
            random = np.random.default_rng(seed)
            signs = random.choice(np.array([-1.0, 1.0], "float32"), features)
            sums = random.integers(most, size=features)
            self._sums = csr_array((signs, (np.arange(features), sums)), shape=(features, most))

    def put(self, places: dict[int, int], values: Array) -> None:
        """Keep rows, each in its place; `places` counts them from 0 in the order of `values`."""
        values = (self._sums.T @ values.T).T if self.projected else values
        self._kept[list(places)] = values

    def kept(self, count: int) -> Array:
        """The first rows, (count, features)."""
        return self._kept[:count]


def picked(structure: object, rows: list[int], count: int) -> object:
    """Some rows of a batch, in a structure of tensors or arrays; the batch itself if that is all of them."""
    if rows == list(range(count)):
        return structure
    return keras.tree.map_structure(lambda leaf: np.asarray(leaf)[rows], structure)
