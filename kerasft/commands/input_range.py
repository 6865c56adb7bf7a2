"""The range of pixel values that a backbone takes: measured, or given and held against what is measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasft.data import ImageData
from kerasft.files import write_text
from kerasft.hub import range_mismatch

Range = tuple[float, float]
ByChannel = tuple[Sequence[float], Sequence[float]]

RANGES: tuple[Range, ...] = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
"""The ranges that published backbones take."""

_CLEAR = 1.3  # how many times as badly the others fit where the best is clear
_FAR = 1.5  # how many times as badly a given range fits where it is refused
_MOST = 256  # images for the second measurement
_ERRORS = 3.0  # standard errors between the accuracies of two ranges where one is better


def input_range(
    backbone: keras.Model, data: ImageData, given: Range | None, stored: Path, say: Callable[[str], object]
) -> Range:
    """The range that a backbone is given, measured unless an earlier process of this run has measured it.

    Two things are measured, the second where the first says nothing: how far batch statistics are from the
    moving ones in each range (`kerasft.hub.range_mismatch`), and how well a linear classifier on the frozen
    features names the classes of images that it was not fitted to.

    Args:
        backbone: The backbone.
        data: The images; those for validation are used.
        given: The range that the user chose; None takes the one that fits.
        stored: A file with what was found out; written if it is not there.
        say: Is told which range is taken and why, if it is measured.

    Raises:
        ValueError: Nothing tells the ranges apart and none is given; or another fits far better than the
            given one.
    """
    if stored.exists():
        low, high = json.loads(stored.read_text())
    else:
        low, high = _chosen(backbone, data, given, say)
        write_text(stored, json.dumps([low, high]))
    return float(low), float(high)


def _chosen(
    backbone: keras.Model, data: ImageData, given: Range | None, say: Callable[[str], object]
) -> Range:
    images, labels = _sample(data)
    ranges = RANGES if given is None or given in RANGES else (*RANGES, given)
    fits = range_mismatch(backbone, images[:: max(1, len(images) // 64)], ranges)
    order = [] if fits is None else sorted(range(len(ranges)), key=fits.__getitem__)
    if fits is not None and (given is not None or fits[order[1]] > _CLEAR * fits[order[0]]):
        found = ", ".join(f"{_words(ranges[i])}: {fits[i]:.3g}" for i in order)
        evidence = f"Distance of batch normalization's statistics from the moving ones, by range: {found}."
        far = [i for i in order if fits[i] > _FAR * fits[order[0]]]
    else:
        right = np.stack([_named_right(_features(backbone, images, r), labels) for r in ranges])
        order, far, accuracy = _by_accuracy(right)
        found = ", ".join(f"{_words(ranges[i])}: {accuracy[i]:.3f}" for i in order)
        evidence = f"Accuracy of a linear classifier on the frozen features, by range: {found}."
        if given is None and len(far) < len(ranges) - 1:
            raise ValueError(
                f"The pixel range that the backbone takes can't be told. {evidence} Its description says "
                "which it is; TF Hub's convention is 0 to 1. Pass it: --input-range 0,1"
            )
    best = ranges[order[0]]
    if given is None:
        say(f"The backbone takes pixels from {_words(best)}. {evidence}")
        return best
    if ranges.index(given) in far:
        raise ValueError(
            f"--input-range {given[0]:g},{given[1]:g} fits the backbone far worse than "
            f"{best[0]:g},{best[1]:g}. {evidence} Leave --input-range out to take what fits, or pass "
            f"--input-range {best[0]:g},{best[1]:g}."
        )
    return given


def model_range(
    model: keras.Model,
    data: ImageData,
    say: Callable[[str], object],
    stated: Range | ByChannel | None = None,
    source: str = "--input-range",
) -> Range | ByChannel:
    """The range of pixels that a classifier takes: the one in which it names the most images right.

    Args:
        model: The classifier.
        data: The images; those for validation are used, and then those for training.
        say: Is told which range is taken and why, if none is stated.
        stated: A range, of all channels or of each, that is taken unless another is clearly better.
        source: Who states it.

    Raises:
        ValueError: No range is clearly better than the others; or one is than the stated one.
    """
    ranges: Sequence[Any] = RANGES if stated is None or stated in RANGES else (*RANGES, stated)
    images, labels = _sample(data, fill=True)
    right = np.stack([_features(model, images, pixels).argmax(axis=1) == labels for pixels in ranges])
    order, far, accuracy = _by_accuracy(right)
    best = ranges[order[0]]
    found = ", ".join(f"{_words(ranges[i])}: {accuracy[i]:.3f}" for i in order)
    evidence = f"Accuracy of the model on {len(labels)} images that are not for the test, by range: {found}."
    if stated is not None:
        if ranges.index(stated) in far:
            raise ValueError(
                f"{source} says that the model takes pixels from {_words(stated)}; {_words(best)} fits far "
                f"better. {evidence} Pass --input-range {best[0]:g},{best[1]:g} if that is right."
            )
        return stated
    if len(far) < len(ranges) - 1:
        raise ValueError(
            f"The pixel range that the model takes can't be told: no layer says it. {evidence} Pass it: "
            "--input-range LOW,HIGH"
        )
    say(f"The model takes pixels from {_words(best)}. {evidence}")
    return best


def _by_accuracy(right: np.ndarray) -> tuple[list[int], list[int], np.ndarray]:
    """The ranges from the best to the worst, those that are clearly worse than the best, and accuracies."""
    accuracy = right.mean(axis=1)
    order = sorted(range(len(right)), key=lambda i: -accuracy[i])
    return order, [i for i in order[1:] if _is_less(right[i], right[order[0]])], accuracy


def _words(pixels: Range | ByChannel) -> str:
    if isinstance(pixels[0], Sequence):
        return f"{_words((min(pixels[0]), max(pixels[1])))} by channel"
    return f"{pixels[0]:g} to {pixels[1]:g}"


def _sample(data: ImageData, fill: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Images for validation with their labels, evenly spaced: they are in the order of their classes.

    `fill` adds images for training where these are few. It moves the order of training on by a pass.
    """
    step = max(1, data.validation_size // _MOST)
    images, labels, seen = [], [], 0
    for batch, truth in data.validation:
        rows = np.flatnonzero((seen + np.arange(len(truth))) % step == 0)
        images.append(batch.numpy()[rows])
        labels.append(truth.numpy()[rows])
        seen += len(truth)
    taken = sum(map(len, labels))
    for batch, truth in data.train if fill else ():
        if taken >= _MOST:
            break
        images.append(batch.numpy())
        labels.append(truth.numpy())
        taken += len(truth)
    return np.concatenate(images), np.concatenate(labels)


def _features(backbone: keras.Model, images: np.ndarray, pixels: Range | ByChannel) -> np.ndarray:
    """What the backbone gives for images with pixels of a range, of shape (images, features)."""
    low, high = (np.asarray(end, "float32") for end in pixels)
    found = np.concatenate(
        [
            np.asarray(backbone.predict_on_batch(low + (high - low) / 255 * images[begin : begin + 32]))
            for begin in range(0, len(images), 32)
        ]
    ).astype("float64")
    return found.reshape(len(found), -1, found.shape[-1]).mean(axis=1)


def _named_right(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether ridge regression on the other images names each image's class.

    With the hat matrix H the prediction of a sample by all others is y - (y - Hy) / (1 - h).

    References:
        Allen (1974), The relationship between variable selection and data augmentation and a method for
        prediction, Technometrics 16.
    """
    x = features - features.mean(axis=0)
    x = np.nan_to_num(x / (x.std() + 1e-12))
    kernel = x @ x.T
    hat = kernel @ np.linalg.inv(kernel + np.trace(kernel) / len(x) * 0.1 * np.eye(len(x)))
    targets = (labels[:, None] == np.unique(labels)).astype("float64")
    left_out = targets - (targets - hat @ targets) / (1 - np.diag(hat))[:, None]
    return np.unique(labels)[left_out.argmax(axis=1)] == labels


def _is_less(one: np.ndarray, best: np.ndarray) -> bool:
    """Whether one range names clearly fewer of the same images right than the best."""
    lost, won = int(np.sum(best & ~one)), int(np.sum(one & ~best))
    return lost - won > _ERRORS * float(np.sqrt(lost + won))
