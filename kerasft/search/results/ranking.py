"""Which value is better, and which trial is best."""

from __future__ import annotations

import math
from collections.abc import Iterable

from kerasft.search.results.json_file import trial_order
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
    return sorted(scored, key=lambda r: (sign * (r.score or 0.0), trial_order(r.trial)))


def best_with_ties(records: Iterable[TrialRecord], direction: str, count: int) -> list[TrialRecord]:
    """The best `count` records, and those whose score equals that of the last of them.

    keras-tuner orders equal trials as the file system does, so any of them may be the one it asks for.

    Example:
        >>> records = [TrialRecord(str(i), {}, score=score) for i, score in enumerate((0.5, 0.9, 0.5, 0.9))]
        >>> [r.trial for r in best_with_ties(records, "max", 1)]
        ['1', '3']
    """
    order = ranked(records, direction)
    return [r for r in order if r.score == order[min(count, len(order)) - 1].score or r in order[:count]]
