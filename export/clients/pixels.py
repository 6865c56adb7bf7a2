"""The step from pixels of 0 to 255 to a graph's input, which a client takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PerChannel = float | Sequence[float] | np.ndarray  # one number, or one for each channel
Normalization = tuple[PerChannel, PerChannel]  # mean and standard deviation
DTYPES = ("float32", "uint8")  # of images and of scores, as clients take them


def pixel_normalization(
    *, input_range: tuple[float, float] | None, normalization: Normalization | None
) -> Normalization | None:
    """(mean, std), so that the graph's input is `(pixel - mean) / std`.

    Args:
        input_range: The values that the graph expects for black and for white.
        normalization: (mean, std), each one number or one for each channel; it comes before `input_range`.

    Returns:
        One number each or one for each channel, in units of a pixel; None if the arguments do not tell.

    Example:
        >>> pixel_normalization(input_range=(-1, 1), normalization=None)
        (127.5, 127.5)
    """
    if normalization is not None:
        return normalization
    if input_range is not None:
        low, high = input_range
        return 0.0 - low * 255 / (high - low), 255 / (high - low)
    return None
