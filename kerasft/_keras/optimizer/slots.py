"""The state of an optimizer: slots, one for each variable, and single variables."""

from __future__ import annotations

import keras

from kerasft._keras.optimizer.settings import inner_optimizer


def slots_and_scalars(
    optimizer: keras.optimizers.Optimizer,
) -> tuple[dict[str, list[keras.Variable | None]], dict[str, keras.Variable]]:
    """Return state by attribute: slots aligned with the optimizer's variables, and single variables."""
    count = len(optimizer._trainable_variables)
    slots, scalars = {}, {}
    for name, value in vars(optimizer).items():
        if isinstance(value, keras.Variable):
            scalars[name] = value
        elif name in ("_trainable_variables", "_variables") or not isinstance(value, list):
            continue
        elif count == len(value) and all(v is None or isinstance(v, keras.Variable) for v in value):
            slots[name] = list(value)
    return slots, scalars


def optimizer_variables(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """List what an optimizer holds: slots, counts, rate, a loss scale, and what Keras forgets to track."""
    inner = inner_optimizer(optimizer)
    slots, scalars = slots_and_scalars(inner)
    listed = [*optimizer.variables, *scalars.values(), *(v for group in slots.values() for v in group)]
    return list({id(v): v for v in listed if v is not None}.values())
