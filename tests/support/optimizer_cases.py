"""Every optimizer of the matrix, and what it is combined with: for tests in one process and in two."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import kerasft
from kerasft.learning_rates.multipliers import Multipliers


@keras.saving.register_keras_serializable("tests")
class Own(keras.optimizers.Optimizer):
    """A user's optimizer: momentum with a bias correction, and slots in a list of its own."""

    def __init__(self, learning_rate=0.01, beta=0.9, **kwargs):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.beta = beta

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.averages = [self.add_variable_from_reference(v, name="average") for v in variables]

    def update_step(self, gradient, variable, learning_rate):
        average = self.averages[self._get_variable_index(variable)]
        rate = keras.ops.cast(learning_rate, variable.dtype)
        fresh = keras.ops.multiply(gradient, 1 - self.beta)
        self.assign(average, keras.ops.add(self.beta * average, fresh))
        correction = 1 - keras.ops.power(self.beta, keras.ops.cast(self.iterations + 1, variable.dtype))
        self.assign_sub(variable, rate * average / correction)

    def get_config(self):
        return {**super().get_config(), "beta": self.beta}


OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "Adam": keras.optimizers.Adam,
    "AdamAMSGrad": lambda rate, **k: keras.optimizers.Adam(rate, amsgrad=True, **k),
    "AdamW": keras.optimizers.AdamW,
    "SGD": keras.optimizers.SGD,
    "Momentum": lambda rate, **k: keras.optimizers.SGD(rate, momentum=0.9, **k),
    "Nesterov": lambda rate, **k: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, **k),
    "RMSprop": lambda rate, **k: keras.optimizers.RMSprop(rate, momentum=0.5, centered=True, **k),
    "Adagrad": keras.optimizers.Adagrad,
    "Adadelta": keras.optimizers.Adadelta,
    "Adafactor": lambda rate, **k: keras.optimizers.Adafactor(rate, relative_step=False, **k),
    "Adamax": keras.optimizers.Adamax,
    "Nadam": keras.optimizers.Nadam,
    "Lion": keras.optimizers.Lion,
    "Lamb": keras.optimizers.Lamb,
    "Muon": keras.optimizers.Muon,
    "ScheduleFreeAdamW": lambda rate, **k: keras.optimizers.ScheduleFreeAdamW(rate, warmup_steps=3, **k),
    "Own": Own,
}

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "weight_decay": {"weight_decay": 0.1},
    "unscaled_decay": {"weight_decay": 0.1},
    "excluded_from_decay": {"weight_decay": 0.1},
    "clipnorm": {"clipnorm": 0.5},
    "global_clipnorm": {"global_clipnorm": 0.5},
    "clipvalue": {"clipvalue": 0.3},
    "accumulation": {"gradient_accumulation_steps": 2},
    "ema": {"use_ema": True, "ema_momentum": 0.8},
    "ema_overwrite": {"use_ema": True, "ema_momentum": 0.8, "ema_overwrite_frequency": 2},
    "loss_scale": {},
    "rate_changes": {},
    "schedule": {},
    "jit": {},
    "sparse": {},
}

RATE, FACTOR, THAW, STEPS = 0.05, 0.1, 4, 12
NAMES = ("slow", "fast", "offset", "still")


def variables() -> dict[str, keras.Variable]:
    """Two matrices and a vector that train, one of them late, and a matrix with a factor of 0."""
    rng = np.random.default_rng(0)
    shapes = {"slow": (3, 2), "fast": (3, 2), "offset": (2,), "still": (3, 2)}
    return {n: keras.Variable(rng.normal(size=s), name=n, dtype="float32") for n, s in shapes.items()}


def gradients(step: int) -> dict[str, Any]:
    """The gradients of a step; those of a matrix have a row of zeros, as an embedding's would."""
    rng = np.random.default_rng(100 + step)
    values = {n: rng.normal(size=v.shape).astype("float32") for n, v in variables().items()}
    for name in ("slow", "fast", "still"):
        values[name][1] = 0
    return values


def rate_at(option: str, step: int) -> float:
    """The base rate at a step."""
    if option == "rate_changes":
        return RATE if step < 7 else RATE / 3
    if option == "schedule":
        return RATE * 0.9**step  # keras.optimizers.schedules.ExponentialDecay(RATE, 1, 0.9)
    return RATE


def with_factors(name: str, option: str) -> keras.optimizers.Optimizer:
    """The optimizer of a case, with factors for `slow` and `still`."""
    rate: Any = RATE
    if option == "schedule":
        rate = keras.optimizers.schedules.ExponentialDecay(RATE, 1, 0.9)
    optimizer = OPTIMIZERS[name](rate, **OPTIONS[option])
    if option == "excluded_from_decay":
        optimizer.exclude_from_weight_decay(var_names=["slow"])
    if option == "loss_scale":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=8.0)
    return kerasft.with_lr_multipliers(
        optimizer,
        Multipliers({"slow": FACTOR, "still": 0.0}),
        scale_weight_decay=option != "unscaled_decay",
    )
