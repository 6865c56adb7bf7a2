"""The usual ways down to a freeze depth, each as phases: one builder for every name.

`UnfreezingSchedule.NAME(stages, ...)` takes a builder's arguments from the user and goes down to depth 0;
`recipe_phases` is the same builder with a depth to end at and a number of epochs to fit into.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Literal, get_args

from kerasft.stages import Stages
from kerasft.unfreezing.phase import Phase

Recipe = Literal["frozen_head", "head_then_all", "one_stage_at_a_time", "linear_probe_then_finetune"]
RECIPES: tuple[Recipe, ...] = get_args(Recipe)
FINE_TUNING_RATE = 0.1  # of the probe's learning rate


def in_turn(depths: Iterable[int | str], every: int = 1) -> list[Phase]:
    """One phase of `every` epochs for each depth or stage's name; the last goes on to the end of `fit`."""
    depths = list(depths)
    return [*(Phase(depth, every) for depth in depths[:-1]), *(Phase(depth) for depth in depths[-1:])]


def frozen_head(stages: Stages) -> list[Phase]:
    """The last stage alone."""
    return in_turn([len(stages) - 1])


def head_then_all(stages: Stages, head_epochs: int = 1, *, depth: int = 0) -> list[Phase]:
    """The last stage alone for `head_epochs` epochs, then everything from `depth` on."""
    head = len(stages) - 1
    return in_turn([head, depth] if head > depth else [depth], head_epochs)


def one_stage_at_a_time(
    stages: Stages, every: int = 1, *, depth: int = 0, steps: int | None = None
) -> list[Phase]:
    """From the last stage down to `depth`, in `steps` equal steps; None for one step a stage."""
    head = len(stages) - 1
    height = head - depth
    steps = height if steps is None else steps
    return in_turn([head, *(head - round(i * height / steps) for i in range(1, steps + 1))], every)


def linear_probe_then_finetune(
    stages: Stages,
    *,
    depth: int = 0,
    learning_rate: float | None,
    warmup_steps: int = 0,
    probe_epochs: int | None,
    patience: int | None = None,
    monitor: str | None = None,
) -> list[Phase]:
    """The last stage alone until it has converged, then everything from `depth` on at a lower rate."""
    probe = Phase(len(stages) - 1, probe_epochs, patience, monitor)
    tune = Phase(depth, learning_rate=learning_rate, warmup_steps=warmup_steps)
    return [probe, tune] if len(stages) - 1 > depth else [tune]


def recipe_phases(
    recipe: Recipe, stages: Stages, depth: int | str, epochs: int, learning_rate: float | None
) -> list[Phase]:
    """The phases by which a recipe gets to a freeze depth; see `schedule_of`."""
    if recipe not in RECIPES:
        raise ValueError(f"No recipe is named {recipe!r}. There are {list(RECIPES)}.")
    head, depth = len(stages) - 1, stages.depth(depth)
    if depth > head:
        raise ValueError(f"Depth {depth} freezes all {len(stages)} stages and leaves nothing to train.")
    if recipe == "frozen_head" or depth == head:
        return frozen_head(stages)
    if epochs < 2:
        return in_turn([depth])
    if recipe == "head_then_all":
        return head_then_all(stages, depth=depth)
    if recipe == "one_stage_at_a_time":
        steps = min(epochs - 1, head - depth)
        return one_stage_at_a_time(stages, epochs // (steps + 1), depth=depth, steps=steps)
    rate = None if learning_rate is None else learning_rate * FINE_TUNING_RATE
    return linear_probe_then_finetune(stages, depth=depth, learning_rate=rate, probe_epochs=epochs // 2)


def equal_parts(stages: Stages, epochs: tuple[int, ...], learning_rate: float | None = None) -> list[Phase]:
    """The head, then equal parts of the backbone from its upper end down, one for each further phase.

    Args:
        stages: The model's stages.
        epochs: Epochs in each phase. Phases that would begin at the same stage are one.
        learning_rate: Base learning rate of the last phase; None keeps the optimizer's.
    """
    last = len(stages) - 1
    lengths: dict[int, int] = {}
    for i, count in enumerate(epochs):
        depth = round(last * (1 - i / len(epochs)))
        lengths[depth] = lengths.get(depth, 0) + count
    phases = [Phase(_named(stages, depth), count) for depth, count in lengths.items()]
    if learning_rate is not None and len(phases) > 1:
        phases[-1] = dataclasses.replace(phases[-1], learning_rate=learning_rate)
    return phases


def _named(stages: Stages, depth: int) -> int | str:
    """A freeze depth by its stage's name, or by its number where that name means layers elsewhere, too."""
    try:
        stages.depth(stages[depth].name)
    except ValueError:
        return depth
    return stages[depth].name
