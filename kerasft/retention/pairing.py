"""Which weights a model and its pre-trained original both have: stage by stage, by their shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import numpy as np

from kerasft.stages import Stage, Stages, find_stages

Original: TypeAlias = "keras.Model | Stages | Sequence[np.ndarray]"
"""A pre-trained model, or what `get_weights()` of the model itself gave before it was fine-tuned."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """A model and what it shares with its original.

    Attributes:
        stages: The stages of the model.
        count: How many of them, from the first, the original has too.
        variables: The weights of these stages.
        values: What the original has for each of them, copied.
        theirs: The original's own variables for them; none if the original is a list of arrays.
    """

    stages: Stages
    count: int
    variables: list[keras.Variable]
    values: list[np.ndarray]
    theirs: list[keras.Variable]

    @property
    def shares(self) -> bool:
        """Whether the original holds the very variables of the model."""
        return any(a is b for a, b in zip(self.variables, self.theirs, strict=False))

    def of_stage(self, index: int) -> list[tuple[keras.Variable, np.ndarray]]:
        """The weights of a stage, each with the original's values."""
        ids = {id(v) for v in self.stages[index].weights}
        return [(v, w) for v, w in zip(self.variables, self.values, strict=True) if id(v) in ids]


def pair(
    function: str,
    model: keras.Model | Stages,
    original: Any,
    shared: int | str | None = None,
    trained: bool = False,
) -> Pairs:
    """Find the weights that a model and its original both have.

    Stages are compared from the first on by the shapes of their weights. The last stage of either may differ:
    a new head. Where its shapes agree as well, it is the original's if its values are; before training, if
    they alone differ, it is a new head. After training nothing tells which of the two it is.

    Args:
        function: The function that was called, for messages.
        model: The model.
        original: The pre-trained model, or the list of its weights.
        shared: How many stages both have, or the name of the first that is new; None finds it out.
        trained: Whether the model has been trained since.

    Raises:
        TypeError: `original` is neither a model nor a list of arrays.
        ValueError: It is of another architecture, or two readings are possible.
    """
    stages = find_stages(model)
    if isinstance(original, (list, tuple)):
        return _pair_arrays(function, stages, original, shared)
    if not isinstance(original, (keras.Model, Stages)):
        raise TypeError(
            f"{function} expects the original as a keras.Model, or as the list that model.get_weights() gave "
            f"before training; received {original!r} ({type(original).__name__})."
        )
    others = find_stages(original)
    agreeing = 0
    for mine, other in zip(stages, others, strict=False):
        if _shapes(mine) != _shapes(other):
            break
        agreeing += 1
    if shared is not None:
        count = stages.depth(shared)
        if count > agreeing or count == 0:
            raise ValueError(_another_architecture(function, stages, others, agreeing, f"shared={shared!r}"))
    elif agreeing == 0 or agreeing < max(len(stages), len(others)) - 1:
        raise ValueError(_another_architecture(function, stages, others, agreeing, None))
    else:
        count = _without_new_head(function, stages, others, agreeing, trained)
    variables = [v for stage in stages[:count] for v in stage.weights]
    theirs = [v for stage in others[:count] for v in stage.weights]
    return Pairs(stages, count, variables, [np.array(v.numpy()) for v in theirs], theirs)


def _pair_arrays(function: str, stages: Stages, arrays: Sequence[Any], shared: int | str | None) -> Pairs:
    weights = stages.model.weights
    shapes = [tuple(np.shape(array)) for array in arrays]
    expected = [tuple(v.shape) for v in weights]
    if shapes != expected:
        where = next((i for i, (a, b) in enumerate(zip(shapes, expected, strict=False)) if a != b), None)
        detail = (
            "" if where is None else f"; the first that differs is number {where}, {weights[where].path!r}"
        )
        detail += "" if where is None else f": {shapes[where]} instead of {expected[where]}"
        raise ValueError(
            f"{function} expects what get_weights() of {stages.model.name!r} gave before training: "
            f"{len(expected)} arrays. It received {len(shapes)}{detail}. For a model with another head, give "
            "the original model itself."
        )
    count = len(stages) if shared is None else stages.depth(shared)
    by_id = {id(v): np.array(array) for v, array in zip(weights, arrays, strict=True)}
    variables = [v for stage in stages[:count] for v in stage.weights]
    return Pairs(stages, count, variables, [by_id[id(v)] for v in variables], [])


def _without_new_head(function: str, stages: Stages, others: Stages, agreeing: int, trained: bool) -> int:
    """How many stages are the original's, where the last one may be a new head of the same shapes."""
    if agreeing < len(stages) or agreeing < len(others) or _equal(stages[-1], others[-1]):
        return agreeing
    body = [(a, b) for a, b in zip(stages[:-1], others[:-1], strict=True)]
    if not trained and body and all(_equal(a, b) for a, b in body):
        return agreeing - 1
    raise ValueError(
        f"{function}: the last stage of {stages.model.name!r}, {stages[-1].name!r}, has the shapes of the "
        "original's and other values. It may be a new head, or the original's, trained since. Give "
        f"shared={agreeing - 1} if it is new, or shared={agreeing} if it is the original's."
    )


def _another_architecture(
    function: str, stages: Stages, others: Stages, agreeing: int, given: str | None
) -> str:
    mine = stages[agreeing] if agreeing < len(stages) else None
    other = others[agreeing] if agreeing < len(others) else None
    said = f"{given}, but " if given else ""
    common = f"the first {agreeing} stages agree" if agreeing else "they have no stage in common"
    return (
        f"{function}: {said}{others.model.name!r} is not the original of {stages.model.name!r}: {common}; "
        f"then {_described(stages, mine)}, and {_described(others, other)}. Give the model that this one was "
        "fine-tuned from, or shared=, the number of stages that both have."
    )


def _described(stages: Stages, stage: Stage | None) -> str:
    if stage is None:
        return f"{stages.model.name!r} ends"
    shapes = _shapes(stage)
    shown = ", ".join(map(str, shapes[:3])) + (", ..." if len(shapes) > 3 else "")
    return f"{stages.model.name!r} has {stage.name!r} with weights of shapes {shown}"


def _shapes(stage: Stage) -> list[tuple[int, ...]]:
    return [tuple(v.shape) for v in stage.weights]


def _equal(a: Stage, b: Stage) -> bool:
    """Whether two stages of the same shapes hold the same values, to the bit."""
    return all(
        v is w or np.array_equal(v.numpy(), w.numpy()) for v, w in zip(a.weights, b.weights, strict=True)
    )
