"""Keras's own training and test steps, and whether a model uses them as they are."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from kerasft._keras.optimizer import add_step_counts, extend_optimizer


class _ModelWithForward:
    """A model in everything but its call."""

    def __init__(self, model: keras.Model, forward: Callable[..., Any]) -> None:
        self._model, self._forward = model, forward

    def __call__(self, x: Any, training: bool = False) -> Any:
        return self._forward(x, training)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def step_with(model: keras.Model, forward: Callable[[Any, bool], Any], train: bool) -> Callable[[Any], Any]:
    """Return Keras's own training or test step for `model`, with `forward(x, training)` for its call."""
    step = keras.Model.train_step if train else keras.Model.test_step
    return functools.partial(step, _ModelWithForward(model, forward))


def overridden_methods(model: keras.Model) -> list[str]:
    """List the methods of a step that are not Keras's own."""
    names = (
        "train_step",
        "test_step",
        "compute_loss",
        "compute_metrics",
        "make_train_function",
        "make_test_function",
    )
    return [n for n in names if getattr(type(model), n) is not getattr(keras.Model, n) or n in vars(model)]


def is_distributed(model: keras.Model) -> bool:
    """Whether a distribution strategy trains the model."""
    return model._distribute_strategy is not None or tf.distribute.has_strategy()


def apply_trainable_flags(model: keras.Model, variables: Sequence[keras.Variable] = ()) -> None:
    """Make the optimizer and the next training step of a compiled `model` follow flags that changed.

    `variables` are those that will train later; slots for them are made now. Keras traces its training
    step once and goes on with it, whatever the flags are later; here it is traced again.
    """
    if not model.compiled or getattr(model, "optimizer", None) is None:
        return
    if model.optimizer.built or variables:
        add_step_counts(model.optimizer)
        extend_optimizer(model.optimizer, list(variables) or list(model.trainable_variables))
    if model.train_function is not None:
        model.make_train_function(force=True)


def steps_per_call(model: keras.Model) -> int:
    """Count the steps that one call of the training function takes."""
    return int(model.steps_per_execution)
