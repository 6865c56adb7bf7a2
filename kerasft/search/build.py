"""Build a trial's model, whatever the user's function takes and returns."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf


def _copies(metrics: Sequence[Any] | None) -> list[Any] | None:
    """Metrics for one model more; each counts for itself."""
    if metrics is None:
        return None
    return [type(m).from_config(m.get_config()) if isinstance(m, keras.Metric) else m for m in metrics]


def _takes_hyperparameters(build_model: Callable[..., Any]) -> bool:
    """Whether a function wants to have keras-tuner's `hp`."""
    try:
        parameters = inspect.signature(build_model).parameters.values()
    except ValueError:  # it does not say
        return True
    return any(
        p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)
        and (p.default is p.empty or p.name == "hp")
        for p in parameters
    )


def targets_of(arguments: Mapping[str, Any]) -> Any:
    """The targets among the arguments of `fit`, or what is known of them: shape and dtype."""
    if arguments.get("y") is not None:
        return arguments["y"]
    x = arguments.get("x")
    if isinstance(x, tf.data.Dataset):
        return keras.utils.unpack_x_y_sample_weight(x.element_spec)[1]
    if isinstance(x, keras.utils.PyDataset):
        return keras.utils.unpack_x_y_sample_weight(x[0])[1]
    return None
