"""An optimizer's class, settings and learning rate, whatever is wrapped around it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    from typing import Any as LossScaleBase
    from typing import Any as OptimizerBase
else:
    LossScaleBase, OptimizerBase = keras.optimizers.LossScaleOptimizer, object


def _number(value: Any) -> float:
    """A scalar as a number; `float` does not take a variable that several replicas have."""
    return float(keras.ops.convert_to_numpy(value))


def _key_of(entries: Mapping[str, Any], path: str, separator: str = "/") -> str | None:
    """The key of a variable; a loaded Sequential model leaves out its own name in front of the path."""
    if path in entries:
        return path
    near = [k for k in entries if k.endswith(separator + path) or path.endswith(separator + k)]
    return near[0] if len(near) == 1 else None


def _by_path(entries: Mapping[str, Any], path: str, default: Any) -> Any:
    key = _key_of(entries, path)
    return default if key is None else entries[key]


def newer_optimizer(name: str) -> Any:
    """An optimizer's class for `isinstance`, even if this Keras has no such optimizer."""
    return getattr(keras.optimizers, name, ())


def inner_optimizer(optimizer: keras.optimizers.Optimizer) -> Any:
    """The optimizer that takes the steps: inside a `LossScaleOptimizer`, or `optimizer` itself."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return inner_optimizer(optimizer.inner_optimizer)
    return optimizer


def _untracked() -> Any:
    """A scope in which Keras does not look at what is set on an object."""
    from keras.src.utils import tracking

    return tracking.DotNotTrackScope()


def class_name(optimizer: Any) -> str:
    """The name of an optimizer's class, whether it counts steps or not."""
    return str(getattr(type(optimizer), "optimizer_class", type(optimizer)).__name__)


def description(optimizer: Any) -> dict[str, Any]:
    """An optimizer's class and settings, without a rate that is a number: it changes while it trains."""
    inner = inner_optimizer(optimizer)
    optimizer_class = getattr(type(inner), "optimizer_class", type(inner))
    config = optimizer_class.get_config(inner)
    left_out = ("name", "learning_rate") if learning_rate_is_settable(inner) else ("name",)
    return {"class": class_name(inner), **{k: v for k, v in config.items() if k not in left_out}}


def learning_rate_is_settable(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether the optimizer's rate is a number, rather than a schedule or a function."""
    return isinstance(optimizer._learning_rate, keras.Variable)


@contextlib.contextmanager
def settable_rate(model: keras.Model) -> Iterator[keras.optimizers.Optimizer]:
    """The model's optimizer with a rate that can be assigned, even if it has a schedule, for a while."""
    inner: Any = inner_optimizer(model.optimizer)
    schedule = inner._learning_rate
    if learning_rate_is_settable(inner):
        yield inner
        return
    rate = keras.Variable(_number(inner.learning_rate), dtype="float32", trainable=False)
    with _untracked():  # or it stays among the optimizer's variables
        inner._learning_rate = rate
    try:
        model.make_train_function(force=True)
        yield inner
    finally:
        inner._learning_rate = schedule
        model.make_train_function(force=True)
