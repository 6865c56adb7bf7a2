"""Whether frozen weights still have the values that they had."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf


class Weights:
    """The values that some weights have, to be compared with those that they have later.

    TensorFlow gives a variable that is written a new buffer while somebody holds its value, so the same
    address means the same values, which makes the comparison quick.

    Example:
        >>> v = keras.Variable([1.0])
        >>> weights = Weights([v])
        >>> _ = v.assign([1.0])
        >>> weights.are_unchanged()
        True
        >>> _ = v.assign([2.0])
        >>> weights.are_unchanged()
        False
    """

    def __init__(self, variables: Sequence[keras.Variable]) -> None:
        self._variables = list(variables)
        self._held = self._values()

    def are_unchanged(self) -> bool:
        """Whether they have the values that they had."""
        now = self._values()
        if not all(_equal(a, b) for a, b in zip(self._held, now, strict=True)):
            return False
        self._held = now
        return True

    def _values(self) -> list[Any]:
        return [tf.convert_to_tensor(v.value) for v in self._variables]


def _equal(a: Any, b: Any) -> bool:
    """Whether two tensors are equal to the bit."""
    try:
        first, second = np.asarray(memoryview(a)), np.asarray(memoryview(b))  # no copies
    except ValueError:  # bfloat16 is no dtype of Python's buffers
        return bool(a.numpy().tobytes() == b.numpy().tobytes())
    same = first.__array_interface__["data"] == second.__array_interface__["data"]
    return same or first.tobytes() == second.tobytes()
