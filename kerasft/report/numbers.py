"""Numbers as text, and which of many are shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

NOTHING = "–"


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def decimal(value: Any, digits: int = 4) -> str:
    """A number with its decimals; a dash where there is none.

    Example:
        >>> decimal(0.5), decimal(None), decimal(float("nan"))
        ('0.5000', '–', 'not a number')
    """
    if isinstance(value, float) and not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    return f"{value:.{digits}f}" if is_number(value) else NOTHING


def short(value: Any) -> str:
    """A number in three digits; a dash where there is none.

    Example:
        >>> short(0.000333333), short(0.25), short(0)
        ('3.33e-04', '0.25', '0')
    """
    if not is_number(value):
        return decimal(value)
    return f"{value:.3g}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.2e}"


def size(count: float) -> str:
    """A number of bytes.

    Example:
        >>> size(13_490_000), size(4_200)
        ('13.49 MB', '4.2 kB')
    """
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A number of things.

    Example:
        >>> counted(1, "epoch"), counted(1200, "class", "classes")
        ('1 epoch', '1,200 classes')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def spread(count: int, most: int) -> list[int]:
    """At most `most` of the places 0 to `count` - 1, at even distances, the first and the last among them.

    Example:
        >>> spread(5, 9), spread(101, 3)
        ([0, 1, 2, 3, 4], [0, 50, 100])
    """
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers between two values, for an axis.

    Example:
        >>> ticks(0.0, 1.0)
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.75)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]


def columns(rows: Sequence[Any], most: int = 4000) -> list[int]:
    """Which epochs of a table of stages by epochs are shown, so that it has at most about `most` cells.

    Args:
        rows: For each epoch a value of each stage.
        most: The most cells.
    """
    stages = max((len(row) for row in rows), default=1)
    return spread(len(rows), max(8, min(60, most // max(stages, 1))))
