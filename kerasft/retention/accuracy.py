"""Accuracy of a model on data, without its compiled metrics: the original has none for a swapped backbone."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

BATCH = 64
logger = logging.getLogger(__name__)


def check_labelled(what: str, data: Any) -> None:
    """Raise unless data are a pair of images and labels, or a `tf.data.Dataset` of batches of such pairs."""
    if isinstance(data, tf.data.Dataset):
        parts = data.element_spec
        if isinstance(parts, tuple) and len(parts) in (2, 3):
            return
    elif isinstance(data, (tuple, list)) and len(data) == 2:
        leaves = keras.tree.flatten(tuple(data))
        rows = {len(leaf) for leaf in leaves if getattr(leaf, "ndim", 0)}
        if all(getattr(leaf, "ndim", 0) for leaf in leaves) and len(rows) == 1 and rows != {0}:
            return
        if not rows:
            raise TypeError(
                f"{what} is a pair of arrays, or of structures of arrays; received lists or numbers."
            )
        raise ValueError(
            f"{what} has x and y of {sorted(rows)} samples; they need as many each, at least one."
        )
    raise TypeError(
        f"{what} is a pair (x, y) of arrays, or a tf.data.Dataset of batches (x, y); received "
        f"{type(data).__name__}."
    )


def batches(data: Any) -> Iterator[tuple[Any, np.ndarray]]:
    """Yield batches of x, and their labels as an array."""
    if isinstance(data, tf.data.Dataset):
        for batch in data:
            yield batch[0], np.asarray(batch[1])
        return
    x, y = data
    for begin in range(0, len(keras.tree.flatten(x)[0]), BATCH):
        rows = slice(begin, begin + BATCH)
        yield keras.tree.map_structure(lambda leaf, rows=rows: leaf[rows], x), np.asarray(y[rows])


class Scores:
    """A model's scores by its `predict` step, which Keras traces once, whatever values its weights get."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._missing: set[int] = set()  # classes that the log has named

    def accuracy(self, data: Any) -> float:
        """The share of samples whose largest score is that of their label.

        Args:
            data: What `check_labelled` lets pass. Labels are class numbers, or rows with a 1.

        Classes without a sample are named in the log, once.

        Raises:
            ValueError: The model does not give a score for each of two or more classes, or labels do not fit.
        """
        right = total = classes = 0
        seen: set[int] = set()
        for x, labels in batches(data):
            scores = np.asarray(self._model.predict_on_batch(x))
            if scores.ndim != 2 or scores.shape[1] < 2:
                raise ValueError(
                    f"{self._model.name!r} gives scores of shape {scores.shape}; accuracy needs the shape "
                    "(samples, classes), with two classes or more."
                )
            classes = scores.shape[1]
            truth = _class_numbers(labels, classes)
            seen |= set(truth.tolist())
            right += int((scores.argmax(1) == truth).sum())
            total += len(truth)
        if missing := set(range(classes)) - seen - self._missing:
            self._missing |= missing
            logger.warning(
                "There are no samples of the classes %s, for which %r has scores: its accuracy says nothing "
                "of them.",
                sorted(missing),
                self._model.name,
            )
        return right / total


def _class_numbers(labels: np.ndarray, classes: int) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == classes:
        return np.asarray(labels.argmax(1))
    numbers = labels.reshape(-1) if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if numbers.ndim != 1 or numbers.min() < 0 or numbers.max() >= classes:
        raise ValueError(
            f"Labels are class numbers from 0 to {classes - 1}, or rows of {classes} with a 1; received an "
            f"array of shape {labels.shape} with values from {labels.min()} to {labels.max()}."
        )
    return np.asarray(numbers)
