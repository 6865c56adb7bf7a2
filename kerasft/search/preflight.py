"""What is checked before a search trains anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def describe_data(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What can be said of the data of `fit` without reading them, for JSON."""
    said = {}
    for name in (
        "x",
        "y",
        "sample_weight",
        "validation_data",
        "validation_split",
        "batch_size",
        "steps_per_epoch",
    ):
        value = arguments.get(name)
        if value is not None:
            said[name] = _describe(value)
    return said


def _describe(value: Any) -> Any:
    if isinstance(value, tf.data.Dataset):
        return [str(value.element_spec), int(value.cardinality())]
    if isinstance(value, keras.utils.PyDataset):
        return [type(value).__name__, value.num_batches]
    if isinstance(value, dict):
        return {str(k): _describe(v) for k, v in value.items()}
    if isinstance(value, list | tuple) and not all(isinstance(v, int | float | str) for v in value):
        return [_describe(v) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "shape"):
        return [list(map(str, value.shape)), str(getattr(value, "dtype", ""))]
    if isinstance(value, int | float | str):
        return value
    return (
        type(value).__name__
        if not isinstance(value, list | tuple)
        else [len(value), str(np.asarray(value).dtype)]
    )
