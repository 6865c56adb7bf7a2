"""Checks of numbers that users give: one wording for every function."""

from __future__ import annotations

import math
import numbers
from typing import Any


def check_number(
    name: str,
    value: Any,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> None:
    """Raise unless an argument is a finite number within bounds.

    Args:
        name: The argument.
        value: What was given for it.
        at_least, above, at_most, below: The bounds; None for none.

    Raises:
        TypeError: It is no number, or a bool.
        ValueError: It is infinite, not a number, or out of bounds.

    Example:
        >>> check_number("decay", 0.8, above=0, at_most=1)
        >>> check_number("decay", 0, above=0, at_most=1)
        Traceback (most recent call last):
        ValueError: decay is a number above 0 and of at most 1; received 0.
    """
    kind = f"a number{_bounds(at_least, above, at_most, below)}"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} is {kind}; received {value!r}.")
    _check_bounds(name, kind, value, at_least, above, at_most, below)


def check_integer(name: str, value: Any, *, at_least: int | None = None) -> None:
    """Raise unless an argument is an integer of at least some value.

    Args:
        name: The argument.
        value: What was given for it.
        at_least: The lowest value; None for none.

    Raises:
        TypeError: It is no integer, or a bool.
        ValueError: It is too small.

    Example:
        >>> check_integer("steps", 3, at_least=1)
        >>> check_integer("steps", 0, at_least=1)
        Traceback (most recent call last):
        ValueError: steps is an integer of at least 1; received 0.
    """
    kind = f"an integer{_bounds(at_least, None, None, None)}"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} is {kind}; received {value!r}.")
    _check_bounds(name, kind, int(value), at_least, None, None, None)


def _bounds(at_least: float | None, above: float | None, at_most: float | None, below: float | None) -> str:
    given = {"of at least": at_least, "above": above, "of at most": at_most, "below": below}
    said = [f"{words} {bound:g}" for words, bound in given.items() if bound is not None]
    return f" {' and '.join(said)}" if said else ""


def _check_bounds(
    name: str,
    kind: str,
    value: Any,
    at_least: float | None,
    above: float | None,
    at_most: float | None,
    below: float | None,
) -> None:
    if (
        not _is_finite(value)
        or (at_least is not None and value < at_least)
        or (above is not None and value <= above)
        or (at_most is not None and value > at_most)
        or (below is not None and value >= below)
    ):
        raise ValueError(f"{name} is {kind}; received {value!r}.")


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False
