"""A loss that fails on targets it was not chosen for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from kerasft import _keras


@dataclass(frozen=True)
class Rule:
    """What targets must be for a loss to fit.

    Attributes:
        low, high: The least and the largest value.
        whole: Whether they are whole numbers.
        sums_to_1: Whether each row along the last axis sums to 1.
    """

    low: float
    high: float
    whole: bool = False
    sums_to_1: bool = False

    def holds(self, targets: Any) -> tf.Tensor:
        """Whether it holds for a batch of targets: a scalar tensor of truth."""
        values = tf.cast(tf.convert_to_tensor(targets), tf.float64)
        found = tf.reduce_all((values >= self.low) & (values <= self.high))
        if self.whole:
            found &= tf.reduce_all(values == tf.round(values))
        if self.sums_to_1:
            found &= tf.reduce_all(tf.abs(tf.reduce_sum(values, -1) - 1) < 1e-3)
        return found

    def __str__(self) -> str:
        kind = "whole numbers" if self.whole else "numbers"
        rows = ", with rows that sum to 1" if self.sums_to_1 else ""
        return f"{kind} from {self.low:g} to {self.high:g}{rows}"


def checked(loss: keras.losses.Loss, rule: Rule, message: str) -> keras.losses.Loss:
    """A copy of a loss that fails on targets which break a rule; where a graph can't raise, it is NaN.

    Args:
        loss: The loss; the copy is saved with a model under its name.
        rule: The rule.
        message: That of the error.

    Example:
        >>> loss = checked(keras.losses.BinaryCrossentropy(), Rule(0, 1, whole=True), "They are 0 and 1.")
        >>> round(float(loss([[1.0]], [[0.5]])), 4)
        0.6931
    """
    own: Any = type(loss)

    def call(self: Any, y_true: Any, y_pred: Any) -> Any:
        holds = rule.holds(y_true)
        with tf.control_dependencies([tf.debugging.Assert(holds, [message])]):
            values = own.call(self, y_true, y_pred)
            failed = tf.fill(tf.shape(values), tf.cast(math.nan, values.dtype))
            return _keras.with_mask(tf.where(holds, values, failed), _keras.mask_of(values))

    # under the name of the loss's own class, so that a file it is saved to says that one
    names = {name: getattr(own, name) for name in ("__module__", "__qualname__", "__doc__")}
    mixed: Any = type(own.__name__, (own,), {**names, "call": call})
    found: keras.losses.Loss = mixed.from_config(loss.get_config())
    return found
