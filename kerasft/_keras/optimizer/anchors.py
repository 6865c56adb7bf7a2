"""Give an optimizer values that its weights decay towards, or ask whether it has them."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from kerasft._keras.optimizer.anchored_decay import Anchors
from kerasft._keras.optimizer.keys import numbered_paths
from kerasft._keras.optimizer.lr_multipliers import add_step_counts
from kerasft._keras.optimizer.settings import as_number, inner_optimizer


def set_anchors(
    optimizer: keras.optimizers.Optimizer,
    strength: float,
    variables: Sequence[tuple[keras.Variable, np.ndarray | None]] | None,
) -> None:
    """Turn an optimizer in place into one whose weights decay towards values that they had.

    Args:
        optimizer: Any that can have multipliers; those that it has stay.
        strength: The share of the distance, times the learning rate, that a step takes away.
        variables: All variables of the model with what each decays towards; None for zero. None in place of
            them all leaves the values as they are.
    """
    add_step_counts(optimizer)
    inner = inner_optimizer(optimizer)
    if variables is None:
        inner._multiplier_state.anchors.strength = strength
        return
    keys = [
        key if value is not None else None
        for key, (_, value) in zip(numbered_paths([v for v, _ in variables]), variables, strict=True)
    ]
    values = {
        key: value
        for key, (_, value) in zip(keys, variables, strict=True)
        if key is not None and value is not None
    }
    inner.set_anchors(Anchors(strength, values, zip((v for v, _ in variables), keys, strict=True)))


def has_anchors(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether weights of an optimizer decay towards values of their own."""
    state = getattr(inner_optimizer(optimizer), "_multiplier_state", None)
    return state is not None and state.anchors is not None


def has_trained(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether an optimizer has taken a step."""
    inner = inner_optimizer(optimizer)
    return bool(inner.built) and int(as_number(inner._iterations)) > 0
