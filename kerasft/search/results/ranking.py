"""Which value is better, which trial is best, and which can't win any more."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from kerasft.search.results.record import TrialRecord


def is_better(a: float, b: float, direction: str) -> bool:
    """Whether value `a` of an objective is better than `b`; NaN is not."""
    if math.isnan(a) or math.isnan(b):
        return math.isnan(b) and not math.isnan(a)
    return a > b if direction == "max" else a < b


def best_of(values: Iterable[float], direction: str) -> float:
    """The best of some values; NaN if none is a number."""
    numbers = [v for v in values if not math.isnan(v)]
    if not numbers:
        return math.nan
    return max(numbers) if direction == "max" else min(numbers)


def ranked(records: Iterable[TrialRecord], direction: str) -> list[TrialRecord]:
    """Sort the records that have a score, the best first; of equal ones the earlier first."""
    scored = [r for r in records if r.score is not None and not math.isnan(r.score)]
    sign = -1.0 if direction == "max" else 1.0
    return sorted(scored, key=lambda r: (sign * (r.score or 0.0), r.trial))


def cannot_win(
    curve: Sequence[float], others: Sequence[Sequence[float]], direction: str, least: int = 2
) -> bool:
    """Whether a trial would not become the best even with the largest gain that was ever seen from here on.

    Args:
        curve: The objective after each epoch so far.
        others: The curves of trials that ran to their end. The gain of one is from its value at this epoch to
            its best value after it.
        direction: "max" or "min".
        least: How many of those it takes; with fewer the answer is False.

    Example:
        >>> others = [[0.5, 0.7, 0.8], [0.4, 0.7, 0.75]]
        >>> cannot_win([0.5], others, "max"), cannot_win([0.5, 0.65], others, "max")
        (False, True)
    """
    here, sign = len(curve), 1.0 if direction == "max" else -1.0
    longer = [other for other in others if len(other) > here]
    if len(longer) < least or not curve:
        return False
    gains = [sign * (best_of(other[here:], direction) - other[here - 1]) for other in longer]
    best = best_of((best_of(other, direction) for other in others), direction)
    if math.isnan(curve[-1]) or any(math.isnan(gain) for gain in gains):
        return False
    hope = max(sign * best_of(curve, direction), sign * curve[-1] + max(gains))
    return hope <= sign * best
