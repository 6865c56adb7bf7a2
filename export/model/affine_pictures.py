"""Transformations of pictures as two products of matrices, measured on the transformation itself.

A resize is linear and separable whatever its kernel: `y = A x B^T`, scaled and shifted by channel. So is one
with a rescaling, a crop or a border. TFLite has no operations of its own for an antialiased or a bicubic
resize, and has products of matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

_AT_ONCE = 16


def measured_map(transform: Callable[[Any], Any], shape: tuple[int, int, int]) -> Callable[[Any], Any]:
    """A transformation of pictures as products of matrices, if it is one; the caller compares the two.

    Args:
        transform: Of pictures (batch, *shape) to pictures of one size.
        shape: Height, width and channels of what it takes.

    Example:
        >>> half = keras.layers.Resizing(2, 2, antialias=True)
        >>> x = np.arange(48.0).reshape(1, 4, 4, 3).astype("float32")
        >>> bool(np.allclose(measured_map(half, (4, 4, 3))(x), half(x), atol=1e-4))
        True
    """
    height, width, _ = shape

    def of(pictures: np.ndarray) -> np.ndarray:
        made = keras.ops.convert_to_numpy(transform(pictures.astype("float32")))
        return np.asarray(made, "float64")

    base = of(np.zeros((1, *shape)))[0]
    scale = (of(np.ones((1, *shape)))[0] - base)[base.shape[0] // 2, base.shape[1] // 2]  # of each channel
    divisor = np.where(scale == 0, 1.0, scale)
    sides = []
    for axis, size in enumerate((height, width)):
        parts = []
        for begin in range(0, size, _AT_ONCE):
            lines = range(begin, min(size, begin + _AT_ONCE))
            pictures = np.zeros((len(lines), *shape))
            for number, line in enumerate(lines):
                pictures[(number, slice(None), line) if axis else (number, line)] = 1
            parts.append((of(pictures) - base) / divisor)
        made = np.concatenate(parts)  # line that is 1, height, width, channel
        middle = made[:, base.shape[0] // 2, :, 0] if axis else made[:, :, base.shape[1] // 2, 0]
        sides.append(middle.T.astype("float32"))
    rows, columns = sides
    factor, offset = scale.astype("float32"), base.astype("float32")

    def apply(x: Any) -> Any:
        x = keras.ops.einsum("ph,bhwc->bpwc", rows, x)
        return keras.ops.einsum("qw,bpwc->bpqc", columns, x) * factor + offset

    return apply
