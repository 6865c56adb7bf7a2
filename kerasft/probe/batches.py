"""Arrays as batches, for what reads data in one pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

SIZE = 32


def batches_of(arrays: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Batches of 32 samples of (x, y) or (x, y, sample_weight), each an array or a structure of arrays.

    Raises:
        ValueError: They have not as many samples each.

    Example:
        >>> import numpy as np
        >>> [len(x) for x, _ in batches_of((np.zeros((40, 2)), np.zeros(40)))]
        [32, 8]
    """
    counts = {len(leaf) for leaf in keras.tree.flatten(arrays)}
    if len(counts) != 1:
        raise ValueError(f"x and y have {sorted(counts)} samples; they need as many each.")
    for begin in range(0, counts.pop(), SIZE):
        rows = slice(begin, begin + SIZE)
        yield keras.tree.map_structure(lambda leaf, rows=rows: leaf[rows], arrays)
