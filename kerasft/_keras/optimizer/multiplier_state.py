"""The state of an optimizer with multipliers, and the numbers of a step that is traced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import keras
import tensorflow as tf

if TYPE_CHECKING:
    from kerasft._keras.optimizer.anchored_decay import Anchors

Tensors: TypeAlias = list[tf.Tensor]


class MultiplierState:
    """The factors, and where the step stands that is traced.

    One plain object, because TensorFlow wraps dicts and lists that are set on an optimizer, and would
    checkpoint them.
    """

    def __init__(self, multipliers: Mapping[str, float], scale_weight_decay: bool) -> None:
        self.multipliers: Mapping[str, float] = dict(multipliers)
        self.resolved = multipliers  # may know which variable each key is
        self.keys: dict[int, str] = {}  # the keys of the optimizer's variables, by their `id`
        self.scale_weight_decay = scale_weight_decay
        self.factors: list[float] = []
        self.rate_schedule: keras.optimizers.schedules.LearningRateSchedule | None = None
        self.measure_gradients = False
        self.anchors: Anchors | None = None
        # while a step is traced
        self.given: list[int] = []  # positions of the variables that have gradients
        self.trained: list[int] = []  # those that it moves
        self.scalars: StepScalars | None = None
        self.replicas = 0  # of a distribution strategy, which trace in threads that take turns
        self.position: int | None = None  # of the variable in hand
        self.scaled = True  # whether the rate that is asked for has the variable's factor in it

    @property
    def in_step(self) -> StepScalars:
        """The numbers of the step that is traced."""
        if self.scalars is None:
            raise RuntimeError("The optimizer's numbers of a step are read while it takes one.")
        return self.scalars


@dataclass
class StepScalars:
    """Numbers of one step, read in one go: a read for each variable would cost time.

    Attributes:
        steps: The steps that each variable has taken before.
        factors: The factor of each variable.
        warmup: The factor of a warm-up.
        products: Nadam's momentum schedule of each variable, multiplied up.
    """

    steps: Tensors
    factors: Tensors
    warmup: tf.Tensor
    products: Tensors
