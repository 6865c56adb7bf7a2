"""What `predict` and the call of a model give for a few samples, and whether they are alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..errors import ExportError
from .failures import plain
from .samples import batches, named_inputs, random_values
from .signature import input_names, pack_inputs

_FEW = 4  # samples on which predict and the call are compared
_MOST = 10_000  # samples of which the sizes are read


def is_text(inputs: Any) -> bool:
    """Whether inputs are strings, or hold some."""
    if isinstance(inputs, str | bytes):
        return True
    if isinstance(inputs, dict):
        return any(map(is_text, inputs.values()))
    if isinstance(inputs, list | tuple):
        return any(map(is_text, inputs))
    if isinstance(inputs, np.ndarray):
        return inputs.dtype.kind in "US" or any(isinstance(item, str | bytes) for item in inputs.flat[:1])
    return getattr(inputs, "dtype", None) == tf.string


def first_inputs(given: list[Any]) -> Any:
    """The first few samples of the first data that there are."""
    for data in given:
        for inputs, _ in batches(data):
            return few(inputs)
    return None


def few(inputs: Any) -> Any:
    """The first few samples of inputs; a list of strings or numbers is one input."""
    if isinstance(inputs, dict):
        return {k: few(v) for k, v in inputs.items()}
    if isinstance(inputs, tuple) or (
        isinstance(inputs, list) and inputs and not isinstance(inputs[0], str | bytes | int | float)
    ):
        return type(inputs)(map(few, inputs))
    return inputs[:_FEW]


def leaves_of(inputs: Any) -> list[Any]:
    """The arrays in inputs, those of a dict in its own order."""
    if isinstance(inputs, dict):
        return [leaf for value in inputs.values() for leaf in leaves_of(value)]
    if isinstance(inputs, list | tuple):
        return [leaf for value in inputs for leaf in leaves_of(value)]
    return [inputs]


def made_up_inputs(model: keras.Model) -> dict[str, np.ndarray]:
    """A few inputs of numbers; open axes are 32 long."""
    rng, sample = np.random.default_rng(0), {}
    for name, t in zip(input_names(model), model.inputs, strict=True):
        shape = (_FEW, *(32 if n is None else n for n in tuple(t.shape)[1:]))
        within = (0.0, 255.0) if "float" in t.dtype else None
        sample[name] = random_values(rng, shape, tf.as_dtype(t.dtype).as_numpy_dtype, within)
    return sample


def predicted_by(model: keras.Model, raw: Any, what: str) -> list[np.ndarray]:
    """What `predict` gives for a few samples."""
    try:
        return flattened(model.predict(raw, verbose=0))
    except Exception as error:
        raise ExportError(
            f"{model.name!r}.predict fails on the data, which it takes through {what}. "
            f"{type(error).__name__}: {plain(str(error), 300)} Give data as model.predict takes them."
        ) from error


def called_on(model: keras.Model, inputs: Any) -> list[np.ndarray] | None:
    """What the call gives for the same samples; None if it does not take them."""
    try:
        named = named_inputs(model, inputs)
        return flattened(model(pack_inputs(model, named), training=False))
    except Exception:
        return None


def flattened(outputs: Any) -> list[np.ndarray]:
    """The arrays in outputs."""
    return [keras.ops.convert_to_numpy(v) for v in keras.tree.flatten(outputs)]


def alike(ours: list[np.ndarray] | None, theirs: list[np.ndarray], near: float) -> bool:
    """Whether arrays are the same up to a share of their largest value; integers have to be equal."""
    if ours is None or [a.shape for a in ours] != [b.shape for b in theirs]:
        return False
    for a, b in zip(ours, theirs, strict=True):
        if a.dtype.kind not in "fc":
            if not np.array_equal(a, b):
                return False
            continue
        size = float(np.max(np.abs(b), initial=0.0, where=np.isfinite(b)))
        if not np.allclose(a, b, rtol=near, atol=near * size + 1e-7, equal_nan=True):
            return False
    return True


def leaves_as_it_is(transform: Callable[[Any], Any], raw: Any) -> bool:
    """Whether a transformation leaves data as they are."""
    try:
        made = transform(raw)
        return alike(flattened(made), [np.asarray(v) for v in keras.tree.flatten(raw)], 1e-6)
    except Exception:
        return False


def sizes_of(given: list[Any], raw: Any) -> list[tuple[int | None, ...]]:
    """The shape of each input without the batch, open where data have several sizes."""
    shapes = [tuple(np.shape(leaf))[1:] for leaf in leaves_of(raw)]
    for data in given:
        read = 0
        for inputs, _ in batches(data):
            found = [tuple(np.shape(leaf)) for leaf in leaves_of(inputs)]
            shapes = [
                tuple(a if a == b else None for a, b in zip(old, new[1:], strict=True))
                for old, new in zip(shapes, found, strict=True)
            ]
            read += found[0][0] if found else 1
            if read >= _MOST:
                break
    return shapes
