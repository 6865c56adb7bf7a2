"""The range of a model's output, measured: probabilities of one class each, of several, or any number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np

from kerasft import _keras
from kerasft.stages import find_stages

Kind = Literal["distribution", "unit", "open", "fixed"]

# The head's weights are scaled and shifted: an output that stays between 0 and 1 then is bound to.
_CHANGES = ((1.0, 0.0), (30.0, 3.0), (-30.0, -3.0))


@dataclass(frozen=True)
class Output:
    """The measured output of a model.

    Attributes:
        shape: Of one sample's output.
        kind: "distribution": along the last axis never negative, and with the sum 1; "unit": between 0 and
            1; "fixed": the same number, whatever the samples and the head's weights are; "open": all else.
    """

    shape: tuple[int, ...]
    kind: Kind

    def __str__(self) -> str:
        words = {
            "distribution": "probabilities that sum to 1",
            "unit": "between 0 and 1 each",
            "fixed": "always the same number",
            "open": "not bounded to 0..1",
        }
        units = f"{self.shape[-1]} units" if self.shape and self.shape[-1] != 1 else "one unit"
        return f"an output of {units}, {words[self.kind]}"


def measure(model: keras.Model, x: Any) -> Output:
    """Measure what a model's output is, with its weights as they are and with much larger ones in its head.

    Args:
        model: A model that has been built; its weights are afterwards what they were.
        x: A few inputs.

    Raises:
        ValueError: The model has several outputs.

    Example:
        >>> net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Softmax()])
        >>> measure(net, np.ones((2, 4))).kind
        'distribution'
    """
    layers = list(find_stages(model)[-1].layers)
    weights = [v for layer in layers for v in _keras.own_trainable_variables(layer)]
    kept = [(v, v.numpy()) for v in weights if keras.backend.is_float_dtype(v.dtype)]
    measured = []
    try:
        for scale, shift in _CHANGES:
            for variable, value in kept:
                variable.assign(value * scale + shift)
            leaves = keras.tree.flatten(model(x, training=False))
            if len(leaves) != 1:
                raise ValueError(f"The model has {len(leaves)} outputs, and a loss can be found for one.")
            measured.append(np.asarray(leaves[0]).astype(np.float64))
    finally:
        for variable, value in kept:
            variable.assign(value)
    return Output(measured[0].shape[1:], _kind([m for m in measured if np.isfinite(m).all()]))


def _kind(measured: list[np.ndarray]) -> Kind:
    if not measured:
        return "open"
    low, high = min(m.min() for m in measured), max(m.max() for m in measured)
    if high - low < 1e-6:
        return "fixed"
    if low < -1e-3 or high > 1 + 1e-3:
        return "open"
    sums = [np.abs(m.sum(-1) - 1).max() < 1e-2 for m in measured]  # 1e-2: of float16, too
    return "distribution" if all(sums) else "unit"
