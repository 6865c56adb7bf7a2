"""FunctionSlot: a model's training or test function, with another in its place for one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import keras

from kerasft.typing import Logs

StepFunction: TypeAlias = Callable[[Any], Logs]
"""What Keras calls for each step, or several: takes an iterator over batches, and returns logs."""


class FunctionSlot:
    """The attribute of a model that holds its training or its test function.

    Args:
        model: The model.
        training: Whether the slot is that of the training function.

    Attributes:
        stock: The model's own function, which another one stands in for; None before `adopt`.
    """

    def __init__(self, model: keras.Model, training: bool) -> None:
        self._model, self._name = model, "train_function" if training else "test_function"
        self.stock: StepFunction | None = None

    def has(self, function: StepFunction) -> bool:
        """Whether the slot holds this function."""
        return getattr(self._model, self._name) is function

    def has_stock(self) -> bool:
        """Whether the slot holds the function that was adopted: nobody has had the step traced again."""
        return getattr(self._model, self._name) is self.stock

    def adopt(self) -> None:
        """Take the function that the model has now for its own."""
        self.stock = getattr(self._model, self._name)

    def put(self, function: StepFunction) -> None:
        """Let another function stand in for the model's own."""
        setattr(self._model, self._name, function)

    def take_out(self, function: StepFunction) -> None:
        """Give the model its own function back, if it has this one."""
        if self.has(function):
            setattr(self._model, self._name, self.stock)
