"""Samples of a batch: their fingerprints, and whether they can be recorded one by one."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasft.cache.cuts import leaves
from kerasft.cache.records import StorageError
from kerasft.typing import Columns


def sample_fingerprints(tensors: Columns) -> Any:
    """Compute a number for each sample that stands for all its data (FarmHash64).

    Args:
        tensors: Everything that belongs to the samples, each with a batch axis.
    """
    found = []
    for leaf in tensors:
        rows = tf.shape(leaf)[0]
        found.append(tf.fingerprint(tf.reshape(leaf, (rows, tf.size(leaf) // tf.maximum(rows, 1)))))
    return tf.bitcast(tf.fingerprint(tf.concat(found, 1)), tf.uint64)


def check_spec(spec: Any) -> None:
    """Raise unless data with this specification can be recorded sample by sample.

    Raises:
        StorageError: They hold other than dense tensors with a batch axis, or strings as targets.
    """
    for leaf in leaves(spec):
        if not isinstance(leaf, tf.TensorSpec):
            raise StorageError(f"The data hold a {type(leaf).__name__}; dense tensors alone can be recorded.")
        if leaf.shape.rank == 0:
            raise StorageError(
                "The data hold a scalar for a whole batch, so that samples can't be told apart."
            )
    _, y, weight = keras.utils.unpack_x_y_sample_weight(spec)
    if any(leaf.dtype == tf.string for leaf in leaves((y, weight))):
        raise StorageError("The targets are strings, which can't be recorded.")


def check_rows(tensors: Columns, rows: int) -> None:
    """Raise StorageError unless each tensor has one row for each sample."""
    for tensor in tensors:
        if tensor.shape[0] != rows:
            raise StorageError(
                f"A batch of {rows} samples has a tensor of shape {tuple(tensor.shape)}: samples can't be "
                "told apart in it."
            )


def are_close(a: Any, b: Any) -> bool:
    """Whether two values are the same but for rounding."""
    a, b = (np.asarray(tf.cast(v, tf.float32)) for v in (a, b))
    scale = np.abs(a).max() if a.size else 0.0
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-2, atol=1e-2 * scale, equal_nan=True)
