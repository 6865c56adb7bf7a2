"""From measured errors to a recommendation: the rules, and the sentences that they give."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kerasft.advice.errors_of import Task, times
from kerasft.advice.result import AtSize, Confidence, Recommendation

Array = np.ndarray
_CLEAR = 3.0  # standard errors


@dataclass(frozen=True)
class Verdict:
    """What the errors say.

    Attributes:
        recommendation, confidence, reasons: As in `Advice`.
        row: The row of depths that is recommended; None for a depth of 0.
    """

    recommendation: Recommendation
    confidence: Confidence
    row: int | None
    reasons: tuple[str, ...]


def judged(
    task: Task,
    names: Sequence[str],
    errors: Sequence[Array],
    in_training: Array,
    by_size: Mapping[int, Array],
    curve: Sequence[AtSize],
) -> Verdict:
    """Apply the rules in turn; the first that holds decides.

    1. Almost no error before the head: extract features.
    2. An earlier stage has clearly fewer errors than the last: the stages above it are made for another task,
       so fine-tune from there.
    3. Most of the error is there in training too: the features are the limit, so fine-tune all stages.
    4. Most of it is not: samples are the limit. Fine-tuning sees more of them, as views, so fine-tune; what
       more samples brought so far says how sure that is.

    Args:
        task: What an error is.
        names: The last frozen stage of each depth.
        errors: For each depth the errors of all samples.
        in_training: The errors of the last depth's probe on the samples that it was fitted to.
        by_size: What `errors_by_size` gives, for the last depth.
        curve: The learning curve, the extrapolated point at its end if there is one.
    """
    last = len(errors) - 1
    error, deviation = task.mean(errors[last])
    said = f"The probe before the head has {task.measure} {1 - error:.3f} ± {deviation:.3f}"
    if task.link != "identity" and error <= deviation:
        reason = f"{said}: its error is within a standard error of 0, and nothing is left to gain."
        return Verdict("extract_features", "clear", last, (reason,))
    growth = _growth(task, by_size, curve)
    earlier = _better_earlier(task, errors)
    if earlier is not None:
        row, (gain, spread), most, chance = earlier
        stage, score = names[row], 1 - task.mean(errors[row])[0]
        reasons = (
            f"A probe after {stage!r} beats the one before the head by {gain:.3f} ± {spread:.3f} "
            f"({task.measure} {score:.3f} against {1 - error:.3f}).",
            f"At one of {last} depths the gain is {most:.1f} standard errors, and chance makes about "
            f"{chance:.1f}: the upper stages are made for another task.",
            f"A head on what {stage!r} gives, with all below it frozen, is the cheaper way to that score.",
            *growth.reasons,
        )
        sure: Confidence = "clear" if most > chance + 1 else "likely"
        return Verdict("fine_tune", sure, row, reasons)
    no_earlier = (f"{said}, and no earlier stage is clearly better.",) if last else (f"{said}.",)
    left, _ = task.mean(in_training)
    fit = f"On the samples that it was fitted to, its {task.measure} is {1 - left:.3f}."
    reasons = (*no_earlier, fit, *growth.reasons)
    more = times(task.mean(2 * in_training - errors[last]))  # of the error more is there in training than not
    if more > 0:
        why = (
            "Most of its error is there in training too, so the features are the limit, or noise in the "
            "targets. Recorded features do not tell how deep to go: all stages train, the lower ones slowly "
            "(`layerwise_decay`); a search measures it."
        )
        sure = "likely" if more > _CLEAR and task.link != "identity" else "open"  # numbers may be all noise
        return Verdict("fine_tune", sure, None, (*reasons, why))
    why = (
        "Most of its error is not there in training: samples are the limit. More of them help most; "
        "fine-tuning makes more of those that there are, by other views of them and features of their own."
    )
    sure = "likely" if growth.times > _CLEAR else "open"
    return Verdict("fine_tune", sure, None, (*reasons, why))


@dataclass(frozen=True)
class _Growth:
    """What the second half of the samples brought: in standard errors, and in words."""

    times: float
    reasons: tuple[str, ...]


def _growth(task: Task, by_size: Mapping[int, Array], curve: Sequence[AtSize]) -> _Growth:
    if 2 not in by_size:
        return _Growth(0.0, ("There are too few samples of a class for a learning curve.",))
    gain, spread = task.mean(by_size[2] - by_size[1])
    later = curve[-1]
    said = (
        f"From {curve[-3].samples:,} to {curve[-2].samples:,} samples {task.measure} rose by {gain:.3f} ± "
        f"{spread:.3f}; {later.samples:,} would give about {later.score:.3f} ± {later.standard_error:.3f}."
    )
    return _Growth(times((gain, spread)), (said,))


def _better_earlier(
    task: Task, errors: Sequence[Array]
) -> tuple[int, tuple[float, float], float, float] | None:
    """The depth from which to fine-tune and what it gains on the last with its standard error, if one does.

    The gain that is the most standard errors is held against the most that as many depths make by chance, of
    independent normal numbers about `sqrt(2 log n)`. Of the depths within a standard error of the one with
    the fewest errors, the last is taken, which trains the least.

    Returns:
        The depth's row, its gain, the most standard errors, and those by chance; None if no depth gains.
    """
    last = len(errors) - 1
    if last == 0:
        return None
    chance = max(1.0, math.sqrt(2 * math.log(last)))
    gains = [task.mean(errors[last] - own) for own in errors[:last]]
    most = max(map(times, gains))
    if most <= chance:
        return None
    best = max(range(last), key=lambda row: gains[row][0])
    near = [row for row in range(best, last) if _is_near(task.mean(errors[row] - errors[best]))]
    row = max([best, *(row for row in near if times(gains[row]) > 1)])
    return row, gains[row], most, chance


def _is_near(difference: tuple[float, float]) -> bool:
    """Whether a difference is within its standard error."""
    return difference[0] <= difference[1]
