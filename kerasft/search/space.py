"""What a search varies: hyperparameters of fine-tuning, declared for keras-tuner where they matter."""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import keras_tuner

from kerasft import _keras
from kerasft.arguments import check_number
from kerasft.stages import Stages
from kerasft.unfreezing import RECIPES, Recipe

Range = tuple[float, float] | Sequence[float] | float | None
NAMES = ("recipe", "freeze_depth", "learning_rate", "layerwise_decay", "weight_decay", "head_dropout")
_BOUNDS: dict[str, dict[str, float]] = {
    "learning_rate": {"above": 0},
    "layerwise_decay": {"above": 0, "at_most": 1},
    "weight_decay": {"at_least": 0},
    "dropout": {"at_least": 0, "at_most": 0.999},
}


@dataclass(frozen=True)
class Choice:
    """The hyperparameters of one trial.

    Attributes:
        recipe: How it gets to its freeze depth.
        depth: Its freeze depth, a number of stages.
        learning_rate: Base learning rate; None leaves the optimizer's.
        decay: Layer-wise learning-rate decay; None for none.
        weight_decay: Of the optimizer; None leaves it.
        dropout: Rate of the dropout layers in the head; None leaves it.
    """

    recipe: Recipe
    depth: int
    learning_rate: float | None
    decay: float | None
    weight_decay: float | None
    dropout: float | None

    def to_dict(self) -> dict[str, Any]:
        """The values by the names of the hyperparameters, without those that are left as they were."""
        values = dict(zip(NAMES, vars(self).values(), strict=True))
        return {name: value for name, value in values.items() if value is not None}


class SearchSpace:
    """The hyperparameters that `FreezeDepthSearch` adds to those of the user's own `build_model`.

    A pair (low, high) is a range, a list holds the values to choose from, a number is fixed, and None leaves
    it as the user built it.

    Args:
        depths: Freeze depths or names of stages; None: all but the head's.
        recipes: Names of recipes; None: all.
        learning_rate: Base learning rates, drawn on a logarithmic scale.
        layerwise_decay: Factors of the learning rate from a stage to the one below it.
        weight_decay: Weight decay, on a logarithmic scale; for optimizers that have one.
        dropout: Rates of the dropout layers after the backbone, if there are any.

    Raises:
        TypeError, ValueError: One of them has a wrong type or range.
    """

    def __init__(
        self,
        depths: Sequence[int | str] | None,
        recipes: Sequence[Recipe] | None,
        learning_rate: Range,
        layerwise_decay: Range,
        weight_decay: Range,
        dropout: Range,
    ) -> None:
        if isinstance(depths, str | int):
            raise TypeError(f"depths is a list of depths or stages' names; received {depths!r}.")
        if isinstance(recipes, str):
            raise TypeError(f"recipes is a list of names; received {recipes!r}. Write [{recipes!r}].")
        self.depths = None if depths is None else list(depths)
        self.recipes: list[Recipe] = list(RECIPES if recipes is None else recipes)
        if unknown := [r for r in self.recipes if r not in RECIPES]:
            raise ValueError(f"No recipe is named {unknown}. There are {list(RECIPES)}.")
        if not self.recipes or self.depths == []:
            raise ValueError("recipes and depths need at least one entry each, or None for all.")
        self.learning_rate = _checked("learning_rate", learning_rate)
        self.layerwise_decay = _checked("layerwise_decay", layerwise_decay)
        self.weight_decay = _checked("weight_decay", weight_decay)
        self.dropout = _checked("dropout", dropout)

    def to_dict(self) -> dict[str, Any]:
        """The settings, for JSON."""
        return vars(self)

    def depths_of(self, stages: Stages) -> list[int]:
        """The freeze depths to choose from, as numbers.

        Raises:
            ValueError: The model lacks one of them.
        """
        if self.depths is None:
            return list(range(len(stages) - 1))
        return [stages.depth(depth) for depth in self.depths]

    def choose(self, hp: keras_tuner.HyperParameters, model: keras.Model, stages: Stages) -> Choice:
        """Declare the hyperparameters, and read a trial's values.

        Args:
            hp: The trial's hyperparameters.
            model: The model as the user built it; its optimizer and dropout layers say what can be varied.
            stages: Its stages.

        Raises:
            ValueError: The model has a single stage, or lacks a depth that was asked for.
        """
        head = len(stages) - 1
        if head < 1:
            raise ValueError(
                f"{stages.model.name!r} has a single stage, so there is no freeze depth to search. "
                f"{stages.reason or 'Put a backbone and a head into it.'}"
            )
        recipe: Recipe = self.recipes[0]
        if len(self.recipes) > 1:
            recipe = hp.Choice("recipe", self.recipes)
        depths = self.depths_of(stages)
        if max(depths) > head:
            raise ValueError(
                f"Depth {max(depths)} freezes all {len(stages)} stages of {stages.model.name!r} and leaves "
                f"nothing to train; the deepest that trains is {head} ({stages[head].name!r})."
            )
        depth, decay = head, None
        thawing = [r for r in self.recipes if r != "frozen_head"]
        if len(thawing) == len(self.recipes):
            depth = hp.Choice("freeze_depth", depths) if len(depths) > 1 else depths[0]
            decay = _ask(hp, "layerwise_decay", self.layerwise_decay)
        elif thawing:
            with hp.conditional_scope("recipe", thawing):
                asked = hp.Choice("freeze_depth", depths) if len(depths) > 1 else depths[0]
                decay = _ask(hp, "layerwise_decay", self.layerwise_decay)
            depth = head if recipe == "frozen_head" else asked
        weight_decay = None
        if optimizer_of(model) is None or optimizer_of(model).weight_decay is not None:
            weight_decay = _ask(hp, "weight_decay", self.weight_decay, log=True)
        return Choice(
            recipe,
            min(depth, head),  # a build that chose a smaller backbone
            _ask(hp, "learning_rate", self.learning_rate, log=True),
            None if recipe == "frozen_head" else decay,
            weight_decay,
            _ask(hp, "head_dropout", self.dropout) if head_dropouts(stages) else None,
        )


def apply(choice: Choice, model: keras.Model, stages: Stages) -> None:
    """Set the head's dropout layers and the optimizer to what a trial has chosen.

    Raises:
        ValueError: The optimizer has a LearningRateSchedule, and a rate was chosen.
    """
    for layer in head_dropouts(stages) if choice.dropout is not None else []:
        layer.rate = choice.dropout
    optimizer = optimizer_of(model)
    if optimizer is None:
        return
    if choice.learning_rate is not None:
        if not _keras.learning_rate_is_settable(optimizer):
            raise ValueError(
                "The model was compiled with a LearningRateSchedule, so the search can't set its rate. "
                "Compile it with a number, or leave the rate to the schedule: "
                "FreezeDepthSearch(learning_rate=None)."
            )
        optimizer.learning_rate = choice.learning_rate
    if choice.weight_decay is not None and optimizer.weight_decay is not None:
        optimizer.weight_decay = choice.weight_decay


def optimizer_of(model: keras.Model) -> Any:
    """The optimizer that takes the steps of a compiled model; None if it is not compiled."""
    optimizer = getattr(model, "optimizer", None) if model.compiled else None
    return None if optimizer is None else _keras.inner_optimizer(optimizer)


def head_dropouts(stages: Stages) -> list[keras.layers.Dropout]:
    """The dropout layers that are called after the last weight of the backbone, without those with a rate of
    0: Keras gives them no random generator."""
    below = {id(v) for stage in stages[:-1] for v in stage.weights}
    found: list[Any] = []
    for operation in _operations(stages.model):
        if any(id(v) in below for v in getattr(operation, "weights", ())):
            found = []
        else:
            found.append(operation)
    return [layer for layer in found if isinstance(layer, keras.layers.Dropout) and layer.rate > 0]


def _operations(model: keras.Model) -> Iterator[Any]:
    """The operations that a model calls, in order, nested models opened."""
    for call in _keras.calls(model) or []:
        if isinstance(call.operation, keras.Model) and _keras.calls(call.operation) is not None:
            yield from _operations(call.operation)
        else:
            yield call.operation


def _checked(name: str, value: Range) -> Range:
    if value is None:
        return None
    given: list[Any] = list(value) if isinstance(value, list | tuple) else [value]
    for number in given:
        if isinstance(number, bool) or not isinstance(number, numbers.Real):
            raise TypeError(
                f"{name} is a number, a pair (low, high), a list of numbers or None; received {value!r}."
            )
        check_number(name, number, **_BOUNDS[name])
    if not isinstance(value, list | tuple):
        return float(given[0])
    if isinstance(value, tuple) and (len(given) != 2 or given[0] >= given[1]):
        raise ValueError(
            f"{name}={value!r}: a range is a pair (low, high) with low < high; a list holds values."
        )
    if not given:
        raise ValueError(f"{name} is empty; give values, or None to leave it as it is.")
    return tuple(map(float, given)) if isinstance(value, tuple) else [float(n) for n in given]


def _ask(hp: keras_tuner.HyperParameters, name: str, space: Range, log: bool = False) -> Any:
    """Declare one hyperparameter, and return its value; None if it is not to be set or not active."""
    if space is None or isinstance(space, float):
        return space
    if isinstance(space, list):
        return space[0] if len(space) == 1 else hp.Choice(name, space)
    low, high = space
    return hp.Float(name, low, high, sampling="log" if log and low > 0 else "linear")
