"""range_mismatch: how badly pixels of a range fit the moving statistics of a backbone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from kerasft.hub.hub_stage import HubStage

# Mean and standard deviation of the pixels that backbones are trained on, in a range from 0 to 1:
# ImageNet's are 0.449 and 0.226 (He et al. (2015), arXiv:1512.03385, and all that normalize as they do).
_MEAN, _DEVIATION = 0.449, 0.226
_SAME = 0.01  # statistics that differ by less from one range to another do not depend on it


def range_mismatch(
    backbone: keras.Model, images: np.ndarray, ranges: Sequence[tuple[float, float]]
) -> list[float] | None:
    """Measure how far batch statistics are from moving ones when pixels have one range or another.

    The moving statistics of batch normalization are those of the images that a backbone was trained on, as
    it took them. The images given here are brought to the mean and the contrast of photographs first, so
    that dark or pale ones say the same. In each range they run through the stages up to the first that
    normalizes. A variance counts by the logarithm of its ratio, a mean in standard deviations; of each, the
    median over channels is taken.

    Args:
        backbone: What `load_backbone` has returned, with one input.
        images: Pixels from 0 to 255, of shape (batch, height, width, 3).
        ranges: The lowest and highest value of each range.

    Returns:
        A number for each range, 0 where all statistics agree; None if the backbone has no statistics, none
        that were ever trained, or none that depend on the range.

    Example:
        ```python
        ranges = [(0, 1), (-1, 1), (0, 255)]
        fits = range_mismatch(backbone, images, ranges)
        best = ranges[int(np.argmin(fits))]
        ```
    """
    pixels = (images - images.mean()) / max(float(images.std()), 1e-6)
    pixels = np.clip(_MEAN + _DEVIATION * pixels, 0, 1).astype("float32")
    found = [_first_statistics(backbone, low + (high - low) * pixels) for low, high in ranges]
    if not found[0]:
        return None
    depends = [
        max(float(np.max(np.abs(batch - one[k][1]) / (np.abs(batch) + 1e-12))) for one in found) > _SAME
        for k, (_, batch) in enumerate(found[0])
    ]
    if not any(depends):
        return None
    return [sum(d for d, counts in zip(_distances(one), depends, strict=True) if counts) for one in found]


def _first_statistics(backbone: keras.Model, x: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The moving statistics of the first stage that has trained ones, and those of the batch."""
    tensors: list[tf.Tensor] = [tf.constant(x)]
    for stage in backbone.layers:
        if not isinstance(stage, HubStage):
            continue
        if len(stage.input_dtypes) != len(tensors):
            return []  # the stage takes more than what the stage before gives
        if found := list(_statistics(stage, tensors)):
            return found
        results = stage(tensors, training=False)
        tensors = list(results) if isinstance(results, list | tuple) else [results]
    return []


def _statistics(stage: HubStage, tensors: list[tf.Tensor]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Moving statistics and those of the batch, worked out from how training would move the former.

    A new moving statistic is a mean of the old one and of the batch's. Two runs that begin at 0 and at a
    number of the batch's own size tell both shares.
    """
    before = [w.numpy() for w in stage.stage_weights]
    moving = sorted(
        position
        for position in {position for position, _ in stage.updates}
        if np.issubdtype(before[position].dtype, np.floating) and np.ptp(before[position]) > 0
    )
    if not moving:
        return
    zeros = {position: np.zeros_like(before[position]) for position in moving}
    least = stage.updated(tensors, [zeros.get(p, v) for p, v in enumerate(before)])
    size = {position: max(float(np.abs(least[position]).max()), 1e-6) for position in moving}
    most = stage.updated(tensors, [zeros[p] + size[p] if p in zeros else v for p, v in enumerate(before)])
    for position in moving:
        kept = float(np.mean(most[position] - least[position])) / size[position]
        if 0 < kept < 1:
            yield before[position], least[position] / (1 - kept)


def _distances(statistics: Sequence[tuple[np.ndarray, np.ndarray]]) -> Iterator[float]:
    """How far each batch statistic is from the moving one."""
    variances = [bool(np.all(moving >= 0) and np.all(batch >= 0)) for moving, batch in statistics]
    for k, (moving, batch) in enumerate(statistics):
        if variances[k]:
            yield float(np.median(np.abs(np.log((batch + 1e-12) / (moving + 1e-12)))))
            continue
        beside = [
            np.sqrt(statistics[n][0] + 1e-12)
            for n in (k + 1, k - 1)
            if 0 <= n < len(statistics) and variances[n] and statistics[n][0].shape == moving.shape
        ]
        deviation = beside[0] if beside else np.sqrt(np.mean(np.square(moving))) + 1e-12
        yield float(np.median(np.abs(batch - moving) / deviation))
