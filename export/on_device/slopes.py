"""Derivatives of activations, in operations built into TFLite.

Each is that of TensorFlow, also where a function has a corner: 0 for ReLU at 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

Slope = Callable[[Any, Any], Any]  # of the input and the output: the derivative


def ones_where(condition: Any) -> Any:
    return tf.cast(condition, tf.float32)


def _gelu_slope(x: Any, y: Any) -> Any:
    """Φ(x) + x φ(x): TFLite has no erf, but y = x Φ(x), and near 0 Φ is its own series."""
    small = tf.abs(x) < 0.01
    series = 0.5 + x / math.sqrt(2 * math.pi) * (1 - x * x / 6)
    distribution = tf.where(small, series, y / tf.where(small, tf.ones_like(x), x))
    return distribution + x * tf.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def _silu_slope(x: Any, y: Any) -> Any:
    s = tf.sigmoid(x)
    return s + y * (1 - s)


def _hard_silu_slope(x: Any, y: Any) -> Any:
    return tf.where(tf.abs(x) < 3, (2 * x + 3) / 6, ones_where(x >= 3))


SLOPES: dict[str, Slope] = {
    "relu": lambda x, y: ones_where(x > 0),
    "relu6": lambda x, y: ones_where(x > 0) * ones_where(x < 6),
    "leaky_relu": lambda x, y: tf.where(x > 0, tf.ones_like(x), 0.2 * tf.ones_like(x)),
    "elu": lambda x, y: tf.where(x > 0, tf.ones_like(x), y + 1),
    "sigmoid": lambda x, y: y * (1 - y),
    "hard_sigmoid": lambda x, y: ones_where(tf.abs(x) < 3) / 6,
    "tanh": lambda x, y: 1 - y * y,
    "silu": _silu_slope,
    "hard_silu": _hard_silu_slope,
    "gelu": _gelu_slope,
    "exponential": lambda x, y: y,
}
