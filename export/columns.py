"""The columns of an output, each held against its own spread.

One number for a whole output says nothing about its small columns: in an output of boxes in pixels and scores
from 0 to 1 an int8 file can lose all scores, and differ by half a percent of the output's values. So each
column is measured by itself: the differences about their mean by the standard deviation of the model's
column, or all differences by the root mean square of the column, whichever is more. A column that is
constant in the model has no deviation, and the second alone counts.

Columns that share one unit are measured together, as the small among them do not count by themselves: a
distribution over classes, whose columns are almost all about 0, a vector of length one, the scores of one
sigmoid. A wide output that is not joined of parts, such as the features of a backbone, may lose a twentieth
of its columns, features that are almost never active, and up to half of them where their spreads go over into
those of the others without a gap, so that nothing divides them into values of two kinds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_JOINED = ("CONCATENATION", "PACK")
_ONE_UNIT = ("SOFTMAX", "LOG_SOFTMAX", "LOGISTIC")
_WIDE = 20  # columns
_FORGIVEN = 0.05  # of the columns of a wide output that is not joined of parts
_FORGIVEN_WITHOUT_GAP = 0.5
_GAP = 10  # between the spread of the largest column that is lost and the next one
_CONSTANT = 1e-5  # a deviation by the column's largest value that float32's rounding can make
_NOTHING = 1e-6  # a constant by the output's largest value that counts as nothing


@dataclass(frozen=True)
class Lost:
    """Columns of an output that a file does not keep.

    Attributes:
        output: Its name.
        columns: Their indices along the axis; none if the columns are measured together.
        relative: The difference of the worst by its own spread.
        spread: Standard deviation of the worst in the model, or its size if it is constant.
        largest: The largest value of the output.
        axis: The last one, -1, or 1.
        constant: Whether the worst is the same for all samples of the model.
    """

    output: str
    columns: tuple[int, ...]
    relative: float
    spread: float
    largest: float
    axis: int = -1
    constant: bool = False

    def __str__(self) -> str:
        if not self.columns:
            return (
                f"the output {self.output!r} differs by {self.relative:.3g} of what it varies by from sample "
                "to sample"
            )
        named = ", ".join(map(str, self.columns[:8])) + (", …" if len(self.columns) > 8 else "")
        many = len(self.columns) > 1
        verb, own, worst = ("differ", "their", "the worst") if many else ("differs", "its", "it")
        size = f"{self.spread:.3g}, in an output that reaches {self.largest:.3g}"
        return (
            f"column{'s' * many} {named} of the output {self.output!r} "
            f"({'last axis' if self.axis == -1 else f'axis {self.axis}'}) {verb} by {self.relative:.3g} of "
            f"{own} own {'size' if self.constant else 'spread'}: "
            f"{worst} {'is always about' if self.constant else 'varies by'} {size}"
        )


class Columns:
    """Sums over the samples of an output, by column.

    Args:
        output: Its name.
        producer: The kind of operation that computes it, as far as known.
        axis: The axis that is given as the last one. Along axis 1, which may be a time, what is always the
            same does not count.
    """

    def __init__(self, output: str, producer: str = "", axis: int = -1) -> None:
        self._output, self._producer, self._axis = output, producer, axis
        self._sums: np.ndarray | None = None  # values, their squares, differences, their squares
        self._shift = self._largest = np.zeros(1)
        self._count = self._same = self._rows = 0
        self._distribution = self._unit_length = True
        self._ranked = True

    def add(self, difference: np.ndarray, value: np.ndarray) -> None:
        """Add the values of the model, and what the artifact's differ by, of shape (batch, …, columns)."""
        width = value.shape[-1] if value.ndim > 1 else 1
        d, v = difference.reshape(-1, width), value.reshape(-1, width)
        if not v.size:
            return
        if self._sums is not None and width != len(self._shift):  # an axis that is open has no columns
            self._producer, width = "", 1
            d, v = d.reshape(-1, 1), v.reshape(-1, 1)
            if len(self._shift) > 1:
                self._fold()
        if self._sums is None:
            self._shift, self._sums = v[0].copy(), np.zeros((4, width))
            self._largest = np.zeros(width)
        elif len(self._shift) == 1 and width > 1:
            d, v = d.reshape(-1, 1), v.reshape(-1, 1)
        moved = v - self._shift
        with np.errstate(invalid="ignore"):
            self._sums += [moved.sum(0), (moved**2).sum(0), d.sum(0), (d**2).sum(0)]
        self._largest = np.maximum(self._largest, np.abs(v).max(0))
        self._count += len(v)
        self._ranked &= value.ndim == 2 and width > 1
        if width > 1:
            self._distribution &= bool(np.all(v >= 0) and np.all(np.abs(v.sum(1) - 1) < 1e-3))
            self._unit_length &= bool(np.all(np.abs((v**2).sum(1) - 1) < 1e-3))
            self._same += int(np.sum(v.argmax(1) == (v + d).argmax(1)))
            self._rows += len(v)

    def _fold(self) -> None:
        """Count all columns as one from now on."""
        assert self._sums is not None
        n, shift = self._count, self._shift
        values = self._sums[0] + n * shift
        squares = self._sums[1] + 2 * shift * self._sums[0] + n * shift**2
        width = len(shift)
        self._sums = np.array([values.sum(), squares.sum(), self._sums[2].sum(), self._sums[3].sum()])[
            :, None
        ]
        self._shift, self._largest = np.zeros(1), self._largest.max(keepdims=True)
        self._count = n * width

    @property
    def agreement(self) -> float | None:
        """Share of the samples for which both have the same largest column, of a distribution."""
        known = self._ranked and self._distribution and self._rows
        return self._same / self._rows if known else None

    @property
    def one_unit(self) -> bool:
        """Whether the columns are shares of one, or parts of a vector of length one."""
        return (self._distribution or self._unit_length) and len(self._shift) > 1

    def _measured(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Each column's difference by its own spread, that spread, and whether it varies.

        All are of length one if the columns share a unit.
        """
        if self._sums is None:
            return np.zeros(1), np.zeros(1), np.ones(1, bool)
        moved, moved_squares, offset, squares = self._sums / self._count
        deviation = np.sqrt(np.maximum(moved_squares - moved**2, 0))
        with np.errstate(invalid="ignore"):  # infinity less infinity: NaN, which is within no limit
            noise = np.sqrt(np.maximum(squares - offset**2, 0))
        size = np.sqrt(np.maximum(moved_squares + 2 * moved * self._shift + self._shift**2, 0))
        varies = deviation > _CONSTANT * self._largest
        if self.one_unit or self._producer in _ONE_UNIT:
            spread = np.sqrt(np.sum(deviation[varies] ** 2, keepdims=True))
            return _by(np.sqrt(np.sum(noise[varies] ** 2, keepdims=True)), spread), spread, np.ones(1, bool)
        counts = varies | ((self._axis == -1) & (size > _NOTHING * self._largest.max()))
        found = np.maximum(np.where(varies, _by(noise, deviation), 0), _by(np.sqrt(squares), size))
        return np.where(counts, found, 0), np.where(varies, deviation, size), varies

    @property
    def worst(self) -> float:
        """The largest difference of a column by its own spread, without a twentieth of wide outputs."""
        found = np.sort(self._measured()[0])
        wide = self._producer not in _JOINED and len(found) >= _WIDE
        return float(found[-1 - (int(_FORGIVEN * len(found)) if wide else 0)])

    def _forgives(self, over: np.ndarray, spread: np.ndarray) -> bool:
        """Whether columns may be lost: few, or the small ones of many that are of one kind."""
        if self._producer in _JOINED or len(spread) < _WIDE:
            return False
        if len(over) <= _FORGIVEN * len(spread):
            return True
        larger = np.delete(spread, over)
        larger = larger[larger > spread[over].max()]
        few = len(over) <= _FORGIVEN_WITHOUT_GAP * len(spread)
        return few and len(larger) > 0 and bool(larger.min() < _GAP * spread[over].max())

    def lost(self, limit: float) -> Lost | None:
        """The columns that differ by more than `limit` of their own spread, if they count."""
        found, spread, varies = self._measured()
        over = np.flatnonzero(~(found <= limit))
        if not len(over) or self._forgives(over, spread):
            return None
        worst = over[np.argmax(found[over])]
        columns = tuple(map(int, over)) if len(found) > 1 else ()
        return Lost(
            self._output, columns, float(found[worst]), float(spread[worst]), float(self._largest.max()),
            self._axis, not varies[worst],
        )  # fmt: skip


def _by(difference: np.ndarray, spread: np.ndarray) -> np.ndarray:
    return np.divide(difference, spread, out=np.zeros_like(difference), where=spread > 0)
