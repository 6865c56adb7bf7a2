"""Recurrent layers with their steps written out: an int8 file has no loop."""

from __future__ import annotations

from typing import Any

import keras

_MOST_STEPS = 128  # each becomes a copy of the cell


def unrolled(model: keras.Model) -> keras.Model | None:
    """The same model, with its weights, whose recurrent layers have `unroll=True`.

    Returns:
        The copy; None if it can't be built, or if its inputs have more than 128 steps or an open number.
    """
    steps = [tensor.shape[1] for tensor in model.inputs if len(tensor.shape) > 2]
    if not steps or any(n is None or n > _MOST_STEPS for n in steps):
        return None
    try:
        copy: keras.Model = type(model).from_config(_rewritten(model.get_config()))
        copy.set_weights(model.get_weights())
    except Exception:  # a configuration of the user's own can raise anything; then there is no copy
        return None
    return copy


def _rewritten(config: Any) -> Any:
    if isinstance(config, list | tuple):
        return type(config)(_rewritten(item) for item in config)
    if not isinstance(config, dict):
        return config
    return {k: True if k == "unroll" else _rewritten(v) for k, v in config.items()}
