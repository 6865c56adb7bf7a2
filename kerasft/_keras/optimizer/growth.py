"""Build an optimizer for more variables, or give it saved state, without losing what it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from kerasft._keras.optimizer.lr_multipliers import add_step_counts
from kerasft._keras.optimizer.settings import inner_optimizer, untracked
from kerasft._keras.optimizer.slots import slots_and_scalars
from kerasft._keras.optimizer.variants import ScaledLrMultipliers


def extend_optimizer(optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]) -> None:
    """Build `optimizer` for `variables` (in model order), keeping every state that it has.

    Variables new to it begin with the state that a loaded file has for them, or with fresh slots and a step
    count of zero. Variables that it knows and that `variables` lacks keep their state at the end of the list.

    Raises:
        ValueError: The optimizer keeps state in a form that can't be carried over.
    """
    if not optimizer.built:
        optimizer.build(list(variables))
        return
    inner = inner_optimizer(optimizer)
    key = inner._var_key  # a variable of TensorFlow's is the same as the one of Keras's around it
    known = {key(v): i for i, v in enumerate(inner._trainable_variables)}
    if all(key(v) in known for v in variables):
        return
    add_step_counts(optimizer)
    if others := [name for name in inner.scalars() if name.startswith("other")]:
        raise ValueError(
            f"{type(inner).optimizer_class.__name__} keeps {len(others)} variables outside of attributes and "
            "lists with one entry for each weight, so its state can't follow a thaw. Build it on all weights "
            "before you freeze: optimizer.build(model.trainable_variables)."
        )
    listed = {key(v) for v in variables}
    superset = [*variables, *(v for v in inner._trainable_variables if key(v) not in listed)]
    slots, scalars = slots_and_scalars(inner)
    vectors = {name: vector.numpy() for name, vector in inner._vectors().items()}
    _forget_variables(inner)
    inner._trainable_variables_indices = {}
    inner.built = False
    inner.build(superset)
    if optimizer is not inner:
        super(keras.optimizers.LossScaleOptimizer, optimizer).build(superset)

    new_slots, new_scalars = slots_and_scalars(inner)
    for name, entries in new_slots.items():
        for variable, entry in zip(superset, entries, strict=True):
            if entry is not None and key(variable) in known:
                entry.assign(slots[name][known[key(variable)]])
    for name, vector in inner._vectors().items():
        values = vector.numpy()
        for position, variable in enumerate(superset):
            if key(variable) in known:
                values[position] = vectors[name][known[key(variable)]]
        vector.assign(values)
    for name, entry in new_scalars.items():
        old = scalars.get(name)
        if old is not None and old is not entry and name in inner.scalars():
            entry.assign(old)
    inner._claim(p for p, v in enumerate(superset) if key(v) not in known)


def _forget_variables(optimizer: keras.optimizers.Optimizer) -> None:
    """Let `optimizer` hold its step count and rate alone, in a list that TensorFlow sees as a new one.

    It refuses to write a checkpoint of a list from which something was removed.
    """
    tracker = optimizer._tracker
    kept = [v for v in (optimizer._iterations, optimizer._learning_rate) if isinstance(v, keras.Variable)]
    with untracked():  # or the new list tracks what the tracker puts into it
        optimizer._variables = kept
    tracker.config["variables"] = (tracker.config["variables"][0], optimizer._variables)
    tracker.stored_ids["variables"] = {id(v) for v in kept}


def optimizer_state(optimizer: keras.optimizers.Optimizer) -> dict[str, np.ndarray]:
    """Return what an optimizer that counts steps saves, by name; a loss scale and companions included."""
    arrays: dict[str, np.ndarray] = {}
    inner_optimizer(optimizer).save_own_variables(arrays)
    if isinstance(optimizer, ScaledLrMultipliers):
        scale: dict[str, np.ndarray] = {}
        optimizer.save_own_variables(scale)
        arrays |= {f"scale:{name}": value for name, value in scale.items()}
    return {name: np.asarray(value) for name, value in arrays.items()}


def set_optimizer_state(optimizer: keras.optimizers.Optimizer, arrays: Mapping[str, np.ndarray]) -> None:
    """Put back what `optimizer_state` returned into an optimizer that is built and counts steps."""
    scale = {name[6:]: value for name, value in arrays.items() if name.startswith("scale:")}
    if scale and isinstance(optimizer, ScaledLrMultipliers):
        optimizer.load_own_variables(scale)
    own = {name: value for name, value in arrays.items() if not name.startswith("scale:")}
    inner_optimizer(optimizer).load_own_variables(own)
