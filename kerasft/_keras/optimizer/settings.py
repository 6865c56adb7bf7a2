"""An optimizer's class, settings and learning rate, whatever is wrapped around it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from kerasft._keras.structure import plain_data


def as_number(value: keras.Variable | tf.Tensor | float) -> float:
    """Turn a scalar into a number; `float` does not take a variable that several replicas have."""
    return float(keras.ops.convert_to_numpy(value))


def native(value: Any) -> Any:
    """TensorFlow's variable inside Keras's; anything else as it is."""
    return value.value if isinstance(value, keras.Variable) else value


def newer_optimizer(name: str) -> type[keras.optimizers.Optimizer] | tuple[()]:
    """Return an optimizer's class for `isinstance`; no class if this Keras has no such optimizer."""
    return getattr(keras.optimizers, name, ())


def inner_optimizer(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer that takes the steps: inside a `LossScaleOptimizer`, or `optimizer` itself."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return inner_optimizer(optimizer.inner_optimizer)
    return optimizer


def untracked() -> contextlib.AbstractContextManager[None]:
    """Open a scope in which Keras does not look at what is set on an object."""
    from keras.src.utils import tracking

    return tracking.DotNotTrackScope()


def class_name(optimizer: keras.optimizers.Optimizer) -> str:
    """The name of an optimizer's class, whether it counts steps or not."""
    return str(getattr(type(optimizer), "optimizer_class", type(optimizer)).__name__)


def description(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    """Describe an optimizer by class and settings, without a rate that is a number: training changes it."""
    inner = inner_optimizer(optimizer)
    optimizer_class = getattr(type(inner), "optimizer_class", type(inner))
    config = optimizer_class.get_config(inner)
    left_out = ("name", "learning_rate") if learning_rate_is_settable(inner) else ("name",)
    plain = {name: plain_data(value) for name, value in config.items() if name not in left_out}
    anchors = getattr(getattr(inner, "_multiplier_state", None), "anchors", None)
    l2_sp = {} if anchors is None else {"l2_sp": anchors.strength}
    return {"class": class_name(inner), **plain, **l2_sp}


def learning_rate_is_settable(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether the optimizer's rate is a number, rather than a schedule or a function."""
    return isinstance(optimizer._learning_rate, keras.Variable)


@contextlib.contextmanager
def settable_rate(model: keras.Model) -> Iterator[keras.optimizers.Optimizer]:
    """Let the rate of the model's optimizer be assigned within the block, even if it has a schedule."""
    inner = inner_optimizer(model.optimizer)
    schedule = inner._learning_rate
    if learning_rate_is_settable(inner):
        yield inner
        return
    rate = keras.Variable(as_number(inner.learning_rate), dtype="float32", trainable=False)
    with untracked():  # or it stays among the optimizer's variables
        inner._learning_rate = rate
    try:
        model.make_train_function(force=True)
        yield inner
    finally:
        inner._learning_rate = schedule
        model.make_train_function(force=True)
