"""The range of a model's output, measured: probabilities of one class each, of several, or any number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np

from kerasft import _keras
from kerasft.stages import find_stages

Kind = Literal["distribution", "unit", "open", "fixed"]

# The head's weights are scaled and shifted: an output that stays between 0 and 1 then is bound to.
_CHANGES = ((1.0, 0.0), (30.0, 3.0), (-30.0, -3.0))
# The last layer alone, for bounds: its sign turns a linear output around, whatever the layers before it give.
_SMALL = ((1.0, 0.0), (-1.0, 0.0), (3.0, 0.0), (-3.0, 0.0), (0.3, 0.0), (-0.3, 0.0))
_LARGE = ((30.0, 0.0), (-30.0, 0.0), (30.0, 3.0), (-30.0, -3.0))
_HUGE = tuple((100 * scale, 100 * shift) for scale, shift in _LARGE)


@dataclass(frozen=True)
class Output:
    """The measured output of a model.

    Attributes:
        shape: Of one sample's output.
        kind: "distribution": along the last axis never negative, and with the sum 1; "unit": between 0 and
            1; "fixed": the same number, whatever the samples and the head's weights are; "open": all else.
        low, high: What an open output never falls below and never exceeds; infinite where it has no bound.
    """

    shape: tuple[int, ...]
    kind: Kind
    low: float = -math.inf
    high: float = math.inf

    def reaches(self, low: float, high: float) -> bool:
        """Whether an open output can come near all numbers from `low` to `high`."""
        return all(
            math.isinf(bound) or sign * (number - bound) <= 1e-3 * max(1.0, abs(bound))
            for sign, number, bound in ((-1, low, self.low), (1, high, self.high))
        )

    def __str__(self) -> str:
        words = {
            "distribution": "probabilities that sum to 1",
            "unit": "between 0 and 1 each",
            "fixed": "always the same number",
            "open": "not bounded to 0..1",
        }
        bounds = [
            f"never {word} {round(bound, 2) + 0.0:g}"
            for word, bound in (("below", self.low), ("above", self.high))
            if math.isfinite(bound)
        ]
        units = f"{self.shape[-1]} units" if self.shape and self.shape[-1] != 1 else "one unit"
        return f"an output of {units}, {' and '.join(bounds) or words[self.kind]}"


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
    layers = [
        [v for v in _keras.own_trainable_variables(layer) if keras.backend.is_float_dtype(v.dtype)]
        for layer in find_stages(model)[-1].layers
    ]
    weights = [v for own in layers for v in own]
    last: list[keras.Variable] = next((own for own in reversed(layers) if own), [])
    kept = [(v, v.numpy()) for v in weights]

    def called(changed: list[keras.Variable], scale: float, shift: float) -> np.ndarray:
        for variable, value in kept:
            variable.assign(value * scale + shift if any(variable is v for v in changed) else value)
        leaves = keras.tree.flatten(model(x, training=False))
        if len(leaves) != 1:
            raise ValueError(f"The model has {len(leaves)} outputs, and a loss can be found for one.")
        return np.asarray(leaves[0]).astype(np.float64)

    try:
        measured = [called(weights, *change) for change in _CHANGES]
        small, large, huge = ([called(last, *c) for c in group] for group in (_SMALL, _LARGE, _HUGE))
        finite = [m for m in (*measured, *small, *large, *huge) if np.isfinite(m).all()]
        shape, kind = measured[0].shape[1:], _kind(finite)
        if kind != "open":
            return Output(shape, kind)
        low = -_least_bound(*([-m for m in group] for group in (small, large, huge)))
        return Output(shape, kind, low, _least_bound(small, large, huge))
    finally:
        for variable, value in kept:
            variable.assign(value)


def _least_bound(small: list[np.ndarray], large: list[np.ndarray], huge: list[np.ndarray]) -> float:
    """The least number that the output never exceeds; infinite if it goes on rising with the weights."""
    if any(np.isnan(m).any() for m in (*small, *large, *huge)):
        return math.inf
    tops = [max(float(m.max()) for m in group) for group in (small, large, huge)]
    size = max(1.0, abs(tops[1]))
    if math.inf in tops or tops[2] - tops[1] > 0.1 * size:  # weights a hundred times larger count
        return math.inf
    if max(tops) > tops[2] + 1e-3 * size:  # a hump, as GELU has it below 0, whose top lies nearby
        return max(tops) + 0.05 * max(1.0, abs(max(tops)))
    return max(tops)


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
