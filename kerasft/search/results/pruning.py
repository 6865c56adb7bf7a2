"""Which trial is unlikely to become the best, by what trials like it have gained from the same epoch on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from kerasft.search.results.ranking import best_of
from kerasft.search.results.record import TrialRecord

LEAST_EPOCHS = 3  # after a thaw, whatever other trials have taken to recover from theirs
LEAST_TRIALS = 2  # that are like the one in question


def is_unlikely(
    curve: Sequence[float],
    depths: Sequence[int],
    thaws: Sequence[int],
    recipe: str,
    others: Iterable[TrialRecord],
    direction: str,
) -> bool:
    """Whether a trial would not become the best even with the largest gain that a trial like it has had.

    Every network dips when layers thaw. So nothing is said before the first thaw, nor within three epochs
    of the last one, or within as many as trials like it took to be back at their value before theirs. Like it
    are finished trials of its recipe whose thaws come in the same epochs and go as deep, or deeper.

    Args:
        curve: The objective after each epoch so far.
        depths: The freeze depth in each of them.
        thaws: The epochs, from 0, in which the trial's schedule changes the freeze depth.
        recipe: The trial's.
        others: The records of trials that ran to their end.
        direction: "max" or "min".

    Example:
        >>> def ended(trial, *curve):
        ...     return TrialRecord(trial, {}, "head_then_all", curve=list(curve), depths=[2, 0, 0, 0, 0])
        >>> others = [ended("0", 0.5, 0.4, 0.6, 0.7, 0.8), ended("1", 0.5, 0.5, 0.6, 0.7, 0.75)]
        >>> trial = [0.3, 0.2, 0.2, 0.3], [2, 0, 0, 0], [1], "head_then_all"  # 0.3 + 0.8 - 0.7 = 0.4
        >>> is_unlikely(*trial, others, "max")
        True
    """
    here, sign, others = len(curve), 1.0 if direction == "max" else -1.0, list(others)
    begun = [epoch for epoch in thaws if epoch < here]
    if not begun or math.isnan(curve[-1]):
        return False
    alike = [
        r
        for r in others
        if r.recipe == recipe
        and len(r.depths) == len(r.curve) > here
        and _changes(r.depths) == list(thaws)
        and r.depths[here - 1] <= depths[-1]
        and not any(math.isnan(value) for value in r.curve)
    ]
    if len(alike) < LEAST_TRIALS:
        return False
    if here - begun[-1] < max(LEAST_EPOCHS, *(_recovery(r.curve, begun[-1], sign) for r in alike)):
        return False
    gains = [sign * (best_of(r.curve[here:], direction) - r.curve[here - 1]) for r in alike]
    best = best_of((best_of(r.curve, direction) for r in others), direction)
    hope = max(sign * best_of(curve, direction), sign * curve[-1] + max(gains))
    return hope <= sign * best


def _changes(depths: Sequence[int]) -> list[int]:
    """The epochs in which the depth is another than in the epoch before."""
    return [epoch for epoch in range(1, len(depths)) if depths[epoch] != depths[epoch - 1]]


def _recovery(curve: Sequence[float], thaw: int, sign: float) -> int:
    """How many epochs a curve took from a thaw to its value before it; 0 if it never got there."""
    after = enumerate(curve[thaw:], 1)
    return next((count for count, value in after if sign * value >= sign * curve[thaw - 1]), 0)
