"""Golden inputs: samples of a user, checked against a file and stored as it takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..parity import Sample
from ..report import TensorInfo
from ..tflite_file import quantized

_MOST_SAMPLES = 64


def golden_inputs(golden: Any, inputs: Sequence[TensorInfo]) -> list[Sample]:
    """Golden inputs as a file takes them, in batches of one.

    Args:
        golden: One array with a batch axis for the file's first input, or named ones, in the units of the
            graph.
        inputs: The file's inputs.

    Raises:
        TypeError, ValueError: An array is missing, or is not what the file takes.
    """
    exist = ", ".join(f"{t.name!r}: {t.dtype} of shape {list(t.shape)}" for t in inputs)
    named = golden if isinstance(golden, Mapping) else {inputs[0].name: golden}
    if set(named) != {t.name for t in inputs}:
        received = list(golden) if isinstance(golden, Mapping) else "one array"
        raise ValueError(f"golden has an array for each input; received {received}, the file takes {exist}.")
    stored = {t.name: _stored(np.asarray(named[t.name]), t) for t in inputs}
    counts = {name: len(value) for name, value in stored.items()}
    if len(set(counts.values())) > 1 or not 1 <= min(counts.values()) <= _MOST_SAMPLES:
        raise ValueError(f"golden has 1 to {_MOST_SAMPLES} samples, of each input as many, not {counts}.")
    return [{name: value[i : i + 1] for name, value in stored.items()} for i in range(min(counts.values()))]


def _stored(value: np.ndarray, tensor: TensorInfo) -> np.ndarray:
    """A golden input, in the units of the graph, as the file takes it."""
    name, shape, dtype = tensor.name, list(tensor.shape), np.dtype(tensor.dtype)
    if shape[:1] not in ([1], [-1]):
        raise ValueError(f"The file takes {name!r} in the shape {shape}; a golden case has a batch of one.")
    fits = value.ndim == len(shape) and all(
        n in (-1, m) for n, m in zip(shape[1:], value.shape[1:], strict=True)
    )
    if not fits and value.shape[:1] != (0,):
        raise ValueError(f"golden {name!r} has the shape {value.shape}, not (samples, *{shape[1:]}).")
    in_steps = tensor.scale is not None
    own = in_steps and value.dtype == dtype and (tensor.scale, tensor.zero_point) != (1, 0)
    kinds = {"b": "b", "f": "fiu"}.get(dtype.kind, "fiu" if in_steps else "iu")
    if value.size and (own or value.dtype.kind not in kinds):
        wanted = "floats in the units of the graph" if in_steps else dtype.name
        raise TypeError(f"golden {name!r} has the dtype {value.dtype}; expected are {wanted}.")
    finite = np.isfinite(value).all()
    if in_steps and finite:
        return quantized(value, tensor)
    with np.errstate(over="ignore", invalid="ignore"):
        stored = value.astype(dtype)
    if not finite or (np.any(stored != value) if dtype.kind in "iu" else np.isinf(stored).any()):
        raise ValueError(f"golden {name!r} has values that are not finite, or that {dtype} can't hold.")
    return stored
