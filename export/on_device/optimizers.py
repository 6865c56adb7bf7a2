"""A step of SGD or Adam as Keras 3 computes it, on arrays that come in and go out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_KINDS: dict[type, str] = {keras.optimizers.SGD: "sgd", keras.optimizers.Adam: "adam"}
# What Keras's optimizers can do besides: an option, and the values at which it is off.
_OFF: dict[str, tuple[Any, ...]] = {
    "weight_decay": (None, 0, 0.0, False),
    "clipnorm": (None,),
    "clipvalue": (None,),
    "global_clipnorm": (None,),
    "use_ema": (False,),
    "amsgrad": (False,),
    "loss_scale_factor": (None,),
    "gradient_accumulation_steps": (None, 1),
}


@dataclass(frozen=True)
class Rule:
    """How a step changes weights.

    Attributes:
        name: "sgd" or "adam".
        constants: Its constants by Keras's names.
        learning_rate: The optimizer's own, to begin with.
    """

    name: str
    constants: dict[str, Any]
    learning_rate: float

    @property
    def slot_names(self) -> tuple[str, ...]:
        """Endings of the names of a weight's slots."""
        if self.name == "adam":
            return ("m", "v")
        return ("momentum",) if self.constants["momentum"] else ()

    def slots(self, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The slots before the first step, by name."""
        found = {
            f"{name}_{slot}": np.zeros_like(value, "float32")
            for name, value in weights.items()
            for slot in self.slot_names
        }
        return found | ({"step": np.zeros(1, "float32")} if self.name == "adam" else {})

    def step(
        self, weights: Mapping[str, Any], gradients: Mapping[str, Any], slots: Mapping[str, Any], rate: Any
    ) -> dict[str, Any]:
        """The weights and slots after a step, by name; `rate` and `slots["step"]` have the shape (1,)."""
        found: dict[str, Any] = {}
        c = self.constants
        if self.name == "adam":
            found["step"] = slots["step"] + 1.0
            alpha = (
                rate
                * tf.sqrt(1 - _power(c["beta_2"], found["step"]))
                / (1 - _power(c["beta_1"], found["step"]))
            )
        for name, weight in weights.items():
            g = gradients[name]
            if self.name == "adam":
                m, v = slots[f"{name}_m"], slots[f"{name}_v"]
                m = m + (g - m) * (1 - c["beta_1"])
                v = v + (g * g - v) * (1 - c["beta_2"])
                found |= {
                    f"{name}_m": m,
                    f"{name}_v": v,
                    name: weight - m * alpha / (tf.sqrt(v) + c["epsilon"]),
                }
            elif c["momentum"]:
                m = slots[f"{name}_momentum"] * c["momentum"] - g * rate
                found |= {
                    f"{name}_momentum": m,
                    name: weight + (m * c["momentum"] - g * rate if c["nesterov"] else m),
                }
            else:
                found[name] = weight - g * rate
        return found

    def keras_optimizer(self, rate: float) -> keras.optimizers.Optimizer:
        """Keras's own."""
        kind = {name: kind for kind, name in _KINDS.items()}[self.name]
        return kind(learning_rate=rate, **self.constants)


def _power(base: float, step: Any) -> Any:
    """A power of a number below 1, to the last bits, of a step count in float32 and of the shape (1,).

    TFLite's POW is wrong in the last bits, which 1 - 0.999 ** 2 makes the third digit of Adam's rate. So the
    powers stand in two tables: base ** (size * i) and base ** j, whose product is the power of size * i + j.
    """
    if base == 0:
        return tf.zeros_like(step)
    base = float(np.float32(base))  # as Keras has it
    most = 26 * math.log(2) / -math.log(base)  # from there on 1 - power is 1
    size = math.ceil(math.sqrt(most)) + 1
    low = np.power(base, np.arange(size)).astype("float32")
    high = np.append(np.power(base, size * np.arange(size)), 0.0).astype("float32")
    whole = tf.cast(tf.minimum(step, float(size * size)), tf.int32)
    return tf.gather(high, whole // size) * tf.gather(low, whole % size)


def rule_of(model: keras.Model, given: Any = None) -> Rule:
    """The rule of an optimizer that is given, or that the model was compiled with.

    Args:
        model: The user's model.
        given: An optimizer of Keras, its name, or None.

    Raises:
        ValueError: It is neither SGD nor Adam, or does more than they do by default.
    """
    found = given if given is not None else getattr(model, "optimizer", None)
    if found is None:
        raise ValueError(
            f"{model.name!r} is not compiled with an optimizer. Give one by optimizer=, such as "
            "keras.optimizers.SGD(0.01, momentum=0.9) or keras.optimizers.Adam(1e-3)."
        )
    optimizer = keras.optimizers.get(found)
    if type(optimizer) is keras.optimizers.LossScaleOptimizer:  # of a model that trained in mixed precision
        optimizer = optimizer.inner_optimizer
    if type(optimizer) not in _KINDS:
        origin = "" if given is not None else ", which the model was compiled with,"
        raise ValueError(
            f"{type(optimizer).__name__}{origin} does not run on the device: SGD and Adam do, without decay "
            "and multipliers. Give one by optimizer=, such as keras.optimizers.SGD(0.01, momentum=0.9) or "
            "keras.optimizers.Adam(1e-3)."
        )
    config = optimizer.get_config()
    if more := {k: config[k] for k, off in _OFF.items() if k in config and config[k] not in off}:
        raise ValueError(
            f"On the device {type(optimizer).__name__} computes its step alone, and this one has {more}. "
            "Give one without by optimizer=."
        )
    name = _KINDS[type(optimizer)]
    keys = ("beta_1", "beta_2", "epsilon") if name == "adam" else ("momentum", "nesterov")
    constants = {k: config[k] if isinstance(config[k], bool) else float(config[k]) for k in keys}
    rate = float(np.asarray(keras.ops.convert_to_numpy(optimizer.learning_rate)))
    return Rule(name, constants, rate)
