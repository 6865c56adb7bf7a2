"""Whether phases can follow one another, and fit a model and a number of epochs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from keras.optimizers.schedules import LearningRateSchedule

from kerasft.stages import Stages
from kerasft.unfreezing.phase import Phase


def check_order(phases: Sequence[Phase]) -> None:
    """Raise if a phase has no end before others, or no rate after one with a schedule of the rate.

    Raises:
        ValueError: Names the phase, and says what to do.
    """
    for index, phase in enumerate(phases[:-1]):
        if phase.shortest is None:
            raise ValueError(
                f"Phase {index} ({phase.depth!r}) has no `epochs` and no `patience`, so it lasts to the "
                f"end and overlaps phase {index + 1}. Only the last phase may leave both out."
            )
    for index, (before, phase) in enumerate(itertools.pairwise(phases), 1):
        if phase.learning_rate is None and isinstance(before.learning_rate, LearningRateSchedule):
            raise ValueError(
                f"Phase {index} ({phase.depth!r}) has no learning_rate, and phase {index - 1} has a "
                f"{before.rate_text}: it could go on, begin again, or stay where it ended. Give phase "
                f"{index} a number or a schedule of its own."
            )


def checked_depths(
    phases: Sequence[Phase],
    starts: Sequence[int | None],
    earliest: Sequence[int],
    stages: Stages,
    epochs: int | None,
) -> list[int]:
    """The freeze depth of each phase as a number.

    Args:
        phases: The phases.
        starts: The epoch in which each begins; None where patience decides.
        earliest: The first epoch in which each can begin.
        stages: The stages of the model.
        epochs: How many epochs `fit` runs; None leaves that unchecked.

    Raises:
        ValueError: Lists every fault at once: see `UnfreezingSchedule.check`.
    """
    depths, faults = [], []
    for index, phase in enumerate(phases):
        try:
            depths.append(stages.depth(phase.depth))
        except ValueError as error:
            faults.append(f"phase {index}: {error}")
        else:
            if depths[-1] == len(stages):
                faults.append(
                    f"phase {index}: depth {depths[-1]} freezes all {len(stages)} stages and leaves "
                    f"nothing to train; the deepest that trains is {len(stages) - 1} "
                    f"({stages[-1].name!r})."
                )
        if epochs is not None and earliest[index] >= epochs:
            faults.append(
                f"phase {index} ({phase.depth!r}) begins at epoch {earliest[index]}"
                f"{' or later' if starts[index] is None else ''}, but fit runs {epochs} epochs "
                f"(0 to {epochs - 1}): no epoch reaches it. Raise `epochs` to at least "
                f"{earliest[index] + 1} or shorten the phases before it."
            )
    if faults:
        raise ValueError("The schedule does not fit:\n- " + "\n- ".join(faults))
    return depths
