"""Models that give NaN by themselves: said before a file is blamed for it, with the layer where it begins."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..parity import Sample
from .signature import pack_inputs


def check_finite(
    model: keras.Model, samples: Sequence[Sample], expected: Sequence[Sample], places: Sequence[int]
) -> None:
    """Raise ValueError if the model gives NaN, or infinities because of its weights.

    Infinities by themselves are let through: a mask of minus infinities is a legitimate output.

    Args:
        model: The model.
        samples: Inputs.
        expected: What the model gives for each.
        places: The index of each among all samples.
    """
    for index, sample, outputs in zip(places, samples, expected, strict=True):
        bad = [name for name, value in outputs.items() if not np.all(np.isfinite(value))]
        if not bad:
            continue
        kind = "NaN" if any(np.any(np.isnan(outputs[name])) for name in bad) else "infinity"
        weights = _weights(model)
        if kind == "NaN" or weights:
            raise ValueError(
                f"The model itself gives {kind}, for sample {index} in the outputs {bad}: "
                f"{_why(model, sample, weights)} No file was made."
            )


def _weights(model: keras.Model) -> list[str]:
    floats = (v for v in model.variables if tf.as_dtype(v.dtype).is_floating)
    return [v.path for v in floats if not np.all(np.isfinite(keras.ops.convert_to_numpy(v)))]


def _why(model: keras.Model, sample: Sample, weights: list[str]) -> str:
    if weights:
        more = f" and {len(weights) - 3} more" if len(weights) > 3 else ""
        return (
            f"the weights {weights[:3]}{more} are not finite. The training diverged: go back to a checkpoint "
            "before it, and lower the learning rate."
        )
    if bad := [name for name, value in sample.items() if not np.all(np.isfinite(value))]:
        return f"the sample is not finite itself, in the inputs {bad}. Leave it out, or fill it in."
    found = _first(model, pack_inputs(model, sample))
    where = (
        f"from the layer {found} on, whose inputs and weights are finite."
        if found
        else "all weights are finite."
    )
    return f"{where} Look for a division by zero, a logarithm or root of what is not above 0, or an overflow."


def _first(model: keras.Model, inputs: Any) -> str:
    """The first layer or operation whose outputs are not finite while its inputs are; the innermost."""
    found: list[str] = []
    with contextlib.ExitStack() as stack:
        for kind in (keras.Layer, keras.Operation):
            stack.enter_context(_watched(kind, found))
        model(inputs, training=False)
    return found[0] if found else ""


@contextlib.contextmanager
def _watched(kind: Any, found: list[str]) -> Iterator[None]:
    """Note calls of Keras's layers that make finite values infinite or NaN."""
    original = kind.__call__

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        outputs = original(self, *args, **kwargs)
        if not found and not _finite(outputs) and _finite((args, kwargs)):
            found.append(f"{self.name!r} ({type(self).__name__})")
        return outputs

    kind.__call__ = call
    try:
        yield
    finally:
        kind.__call__ = original


def _finite(values: Any) -> bool:
    """Whether all numbers are finite, as far as they are there and not yet to be computed."""
    tensors = (v for v in tf.nest.flatten(values) if isinstance(v, np.ndarray) or tf.is_tensor(v))
    arrays = (np.asarray(v) for v in tensors if not tf.is_symbolic_tensor(v))
    return all(np.all(np.isfinite(a)) for a in arrays if a.dtype.kind == "f")
