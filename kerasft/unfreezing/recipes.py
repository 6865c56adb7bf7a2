"""Recipes: the usual ways to come down to a freeze depth, each as a schedule for a number of epochs."""

from __future__ import annotations

from typing import Literal, get_args

from kerasft.stages import Stages
from kerasft.unfreezing.phase import Phase
from kerasft.unfreezing.schedule import UnfreezingSchedule

Recipe = Literal["frozen_head", "head_then_all", "one_stage_at_a_time", "linear_probe_then_finetune"]
RECIPES: tuple[Recipe, ...] = get_args(Recipe)
FINE_TUNING_RATE = 0.1  # of the probe's learning rate


def schedule_of(
    recipe: Recipe, stages: Stages, depth: int | str, epochs: int, learning_rate: float | None
) -> UnfreezingSchedule:
    """The schedule by which a recipe comes down to a freeze depth.

    Every phase begins within `epochs`, the last one goes on to the end of `fit`, however long that is. Where
    there are more stages than epochs, several thaw at once; with a single epoch there is the last phase
    alone.

    Args:
        recipe: "frozen_head" trains the last stage alone. "head_then_all" does so for one epoch, then trains
            everything from `depth` on. "one_stage_at_a_time" thaws from the head down to `depth` in equal
            steps. "linear_probe_then_finetune" trains the head for half of the epochs, and then everything
            from `depth` on at a tenth of the learning rate.
        stages: The model's stages.
        depth: Where to come down to: a freeze depth or a stage's name.
        epochs: How many epochs there are for it.
        learning_rate: Base learning rate of the first phase; None leaves rates to the optimizer in all
        phases.

    Raises:
        ValueError: There is no such recipe or depth, or the depth leaves nothing to train.

    References:
        Howard & Ruder (2018), arXiv:1801.06146, section 3.3; Kumar et al. (2022), arXiv:2202.10054, section
        4.
    """
    if recipe not in RECIPES:
        raise ValueError(f"No recipe is named {recipe!r}. There are {list(RECIPES)}.")
    head, depth = len(stages) - 1, stages.depth(depth)
    if depth > head:
        raise ValueError(f"Depth {depth} freezes all {len(stages)} stages and leaves nothing to train.")
    if recipe == "frozen_head" or depth == head:
        return UnfreezingSchedule([Phase(head)])
    if epochs < 2:
        return UnfreezingSchedule([Phase(depth)])
    if recipe == "head_then_all":
        return UnfreezingSchedule.from_depths([head, depth])
    if recipe == "one_stage_at_a_time":
        steps = min(epochs - 1, head - depth)
        depths = [head - round(i * (head - depth) / steps) for i in range(steps + 1)]
        return UnfreezingSchedule.from_depths(depths, every=epochs // (steps + 1))
    lower = None if learning_rate is None else learning_rate * FINE_TUNING_RATE
    return UnfreezingSchedule([Phase(head, epochs=epochs // 2), Phase(depth, learning_rate=lower)])
