"""The targets of a holdout: what they are, by their values, and which accuracy they allow to measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

CLASSES, ONE_OF_TWO, SEVERAL = "classes", "binary", "labels"


class Reading:
    """What targets mean for a model's output, decided by all of them.

    Class numbers and one-hot rows, smoothed ones too, belong to an output with a column for each class, of
    which the largest names the class. Zeros and ones belong to an output of one column, a probability with
    the threshold 0.5, and rows of zeros and ones to an output with a probability for each label. Numbers may
    be stored as floats; names stand for the classes of `labels`.

    Args:
        shapes: The shapes of the model's outputs, batch first.
        labels: Names of the classes, or None.
        data: What messages call the data.
    """

    def __init__(
        self,
        shapes: Sequence[Sequence[int | None]],
        labels: Sequence[str] | None,
        data: str = "the holdout",
    ) -> None:
        self._labels, self._data = labels, data
        self._called = data[0].upper() + data[1:] if " " in data else data
        self._shape = tuple(shapes[0])
        self.units: int = 1 if len(self._shape) < 2 else self._shape[-1] or 0
        self._outside = ""  # why no accuracy can be measured whatever the values are
        if len(shapes) != 1:
            self._outside = f"the model has {len(shapes)} outputs, and accuracy is that of one"
        elif len(self._shape) > 2 or not self.units:
            self._outside = f"the output has the shape {self._shape}, not one row of scores a sample"
        self._rows = self._batches = self._bare = 0
        self._whole = self._binary = self._one_hot = True
        self._masked = False
        self._low, self._high = np.inf, -np.inf
        self._width: int | None = None  # None for one number a sample

    def add(self, targets: Any, count: int, weights: Any = None) -> None:
        """Look at the targets of one batch of `count` samples; those with the weight 0 do not count.

        Raises:
            ValueError: They are no targets of these samples, or of this model.
        """
        self._batches += 1
        if targets is None or self._outside or isinstance(targets, dict | list | tuple):
            self._bare += 1
            return
        given = np.asarray(targets)
        if given.ndim == 0 or len(given) != count:
            raise ValueError(
                f"{self._called} has labels of the shape {given.shape} for {count} samples in a batch."
            )
        counts = counted(weights, count)
        if count and not counts.any():
            self._batches, self._masked = self._batches - 1, True
            return
        values = self.numbers(given[counts])
        if values.ndim > 2 or not values.size:
            self._bare += 1
            return
        if not np.all(np.isfinite(values)):
            raise ValueError(f"{self._called} has labels that are not finite. Leave those samples out.")
        self._rows += len(values)
        self._width = values.shape[1] if values.ndim == 2 else None
        self._low, self._high = min(self._low, values.min()), max(self._high, values.max())
        binary = (values == 0) | (values == 1)
        self._whole &= bool(np.all(values == np.round(values)))
        self._binary &= bool(np.all(binary))
        self._one_hot &= values.ndim == 2 and _names_a_class(values)
        self._check()

    def numbers(self, targets: Any) -> np.ndarray:
        """Targets as numbers, of shape (samples,) or (samples, width), names as their place in `labels`.

        Raises:
            ValueError: They are names, and not those of `labels`.
        """
        values = np.asarray(targets)
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        if values.dtype.kind in "biuf":
            return values
        names = np.array([v.decode() if isinstance(v, bytes) else str(v) for v in values.ravel()])
        found = sorted(set(names.tolist()))
        if self._labels is None:
            raise ValueError(
                f"{self._called}'s labels are names, {found[:5]}, and which output each means is not known. "
                "Pass labels=[…] with the names in the order of the output, or class numbers from 0 on."
            )
        if unknown := sorted(set(found) - set(self._labels)):
            raise ValueError(f"{self._called} has the labels {unknown[:5]}; labels are {list(self._labels)}.")
        place = {name: i for i, name in enumerate(self._labels)}
        return np.array([place[name] for name in names]).reshape(values.shape)

    def _check(self) -> None:
        """Raise ValueError if the targets can't be those of the output, whatever they mean."""
        units, span = self.units, f"run from {self._low:g} to {self._high:g}"
        if self._one_hot and self._width != units:
            raise ValueError(
                f"{self._called}'s labels are one-hot rows of {self._width}, but the output has {units} "
                f"column{'s' * (units != 1)}. Are they of another data set?"
            )
        if units != 1 and self._width is None and self._whole and (self._low < 0 or self._high >= units):
            hint = " They seem to begin with 1: subtract 1." if (self._low, self._high) == (1, units) else ""
            raise ValueError(
                f"{self._called}'s labels {span}, but an output of {units} columns has the classes 0 to "
                f"{units - 1}.{hint}"
            )
        if units == 1 and self._labels is not None and self._whole and not self._binary:
            raise ValueError(f"{self._called}'s labels {span}, but two labels are the classes 0 and 1.")

    @property
    def kind(self) -> str:
        """CLASSES, ONE_OF_TWO or SEVERAL; "" if nothing can be measured."""
        if self.reason:
            return ""
        if self.units == 1:
            return ONE_OF_TWO
        return CLASSES if self._width is None or self._one_hot else SEVERAL

    @property
    def reason(self) -> str:
        """Why no accuracy can be measured by these targets; "" if one can be."""
        if self._outside:
            return self._outside
        if (self._bare and self._bare == self._batches) or not self._rows:
            masked = self._masked and not self._bare
            return (
                f"all samples of {self._data} have the weight 0" if masked else f"{self._data} has no labels"
            )
        if self._bare:
            return f"only part of {self._data} has labels"
        span = f"from {self._low:g} to {self._high:g}"
        if self.units == 1 and not (self._binary and self._width is None):
            return f"the targets are numbers {span}; a class of one output column is 0 or 1"
        if self.units != 1 and self._width is None and not self._whole:
            return f"the targets are numbers with fractions, {span}, not class numbers"
        if self._width not in (None, self.units):
            return f"the targets have {self._width} columns, the output {self.units}"
        if self._width is not None and self.units != 1 and not (self._binary or self._one_hot):
            return f"the targets are numbers {span}, not class numbers, one-hot rows or rows of 0 and 1"
        return ""

    def truth(self, targets: Any) -> np.ndarray:
        """The targets of a batch as classes of shape (samples,), or as 0 and 1 of (samples, labels)."""
        values = self.numbers(targets)
        if self.kind == CLASSES and values.ndim == 2:
            return values.argmax(1)
        return values.astype(int)

    @property
    def from_one(self) -> bool:
        """Whether the least class number of all is 1: class 0 is missing, or the numbers begin with 1."""
        return self.kind == CLASSES and self._width is None and self._low == 1

    def classes(self, targets: Any) -> np.ndarray | None:
        """The class of each sample of a batch, where the targets so far name one."""
        if not self.kind or targets is None:
            return None
        found = self.truth(targets)
        return found if found.ndim == 1 else None

    def named(self, scores: np.ndarray) -> np.ndarray:
        """What an output names, in the shape of `truth`."""
        if self.kind == CLASSES:
            return scores.argmax(-1)
        said = (scores > 0.5).astype(int)
        return said.reshape(-1) if self.kind == ONE_OF_TWO else said


def _names_a_class(rows: np.ndarray) -> bool:
    """Whether rows of shape (samples, columns) are distributions with one largest value each."""
    top = np.sort(rows, 1)[:, -2:]
    return bool(
        np.all(rows >= 0) and np.all(np.abs(rows.sum(1) - 1) < 1e-3) and np.all(top[:, 0] < top[:, -1])
    )


def counted(weights: Any, count: int) -> np.ndarray:
    """Which samples of a batch count, by their weights: those of the weight 0 are padding, masked out."""
    if weights is None or isinstance(weights, dict | list | tuple):
        return np.ones(count, bool)
    found = np.asarray(weights).reshape(len(weights), -1)
    return found[:, 0] != 0 if found.shape == (count, 1) else np.ones(count, bool)
