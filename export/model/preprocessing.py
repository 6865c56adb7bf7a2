"""Preprocessing of inputs: inside the graph, by the client, or not at all; and the range that it implies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from ..report import Channels
from .input_graph import Rescaled, rescaled
from .layer_names import layer_at
from .signature import signature_inputs

Range = tuple[float, float]

USUAL: tuple[Range, ...] = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
# Per channel, in keras.applications.imagenet_utils, modes "torch" and "caffe".
_MEAN, _STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
_MEAN_255 = np.array([103.939, 116.779, 123.68])
# What inputs of a range become, in graphs that rescale them: lowest and highest, of each kind of channel.
_BECOMES: dict[Range, list[tuple[Any, Any]]] = {
    (0.0, 1.0): [(-1, 1), (-0.5, 0.5), (0, 255), (-_MEAN / _STD, (1 - _MEAN) / _STD)],
    (-1.0, 1.0): [(0, 1), (0, 255)],
    (0.0, 255.0): [
        (0, 1), (-1, 1), (-0.5, 0.5), (-_MEAN_255, 255 - _MEAN_255), (-_MEAN / _STD, (1 - _MEAN) / _STD),
    ],
}  # fmt: skip
_NEAR = 0.015  # of the width: (x - 127) / 128 and x / 256 count as what they are meant to be
_FAR = 20  # standard deviations that no pixel is from the mean


@dataclass(frozen=True)
class Preprocessing:
    """What a graph does to each input before its first weights.

    Attributes:
        steps: By input name, what reaches the first weights; see `rescaled`.
        pictures: Names of the inputs that have the shape of pictures.
        layers: The Rescaling and Normalization layers that do it, in words.
    """

    steps: dict[str, tuple[Rescaled, ...]]
    pictures: frozenset[str]
    layers: tuple[str, ...]

    @classmethod
    def of(cls, model: keras.Model, signature: Any) -> Preprocessing:
        """Measure it on a model's serving signature, a concrete function."""
        steps = {
            name: tuple(found for found in ends if found.changes)
            for name, ends in zip(signature_inputs(signature), rescaled(signature), strict=True)
        }
        inputs = zip(signature_inputs(signature), signature.inputs, strict=False)
        shapes = {name: tuple(tensor.shape) for name, tensor in inputs}
        operations = {o: None for ends in steps.values() for end in ends for o in end.operations}
        layers = {id(layer): layer for o in operations if (layer := layer_at(model, o)[1]) is not None}
        words = [_in_words(layer) for layer in layers.values()]
        return cls(
            steps,
            frozenset(name for name, shape in shapes.items() if len(shape) == 4 and shape[-1] in (1, 3, 4)),
            tuple(word for word in words if word),
        )

    @property
    def inside(self) -> bool:
        """Whether the graph rescales an input."""
        return any(self.steps.values())

    def readings(self, name: str) -> tuple[Range, ...]:
        """The ranges of an input that its rescaling fits: one if it decides, () if none, or no rescaling."""
        sets = [_readings(end, name in self.pictures) for end in self.steps[name]]
        return tuple(r for r in USUAL if sets and all(r in found for found in sets))

    def decided(self, name: str) -> Range | None:
        """The range of an input if the arithmetic decides it."""
        readings = self.readings(name)
        return readings[0] if len(readings) == 1 else None

    def open_question(self, name: str) -> str | None:
        """Why the range of an input is open, in words; None if it is decided, or nothing is rescaled."""
        if not self.steps[name] or self.decided(name) is not None:
            return None
        readings = self.readings(name)
        fits = "; ".join(_become(low, high, self.steps[name]) for low, high in readings or USUAL)
        how = "more than one usual range fits" if readings else "no usual range fits"
        return f"The graph computes {self.formula(name)} of the input {name!r}, and {how}: {fits}."

    def by_data(self, name: str, span: Range) -> Range | None:
        """Of the ranges that fit the rescaling, the one that data fill from end to end, if it is one."""
        filled = [
            r for r in self.readings(name) if _within(span, r) and span[1] - span[0] > 0.6 * (r[1] - r[0])
        ]
        return filled[0] if len(filled) == 1 else None

    def formula(self, name: str) -> str:
        """What becomes of an input, as text such as `x * 0.003922 - 1`."""
        return " and ".join(dict.fromkeys(_formula(end) for end in self.steps[name])) or "x"

    def describe(self, normalization: tuple[Channels, Channels] | None) -> str:
        """Where preprocessing happens, in words.

        Raises:
            ValueError: `normalization` would be applied twice, or divides by zero.
        """
        named = self.layers or tuple(self.formula(name) for name, ends in self.steps.items() if ends)
        if normalization is None:
            return "in the graph: " + ", ".join(named) if self.inside else "none"
        if self.inside:
            raise ValueError(
                f"The model normalizes its input itself ({', '.join(named)}), so "
                f"normalization={normalization} would be applied twice. Leave it out."
            )
        mean, std = normalization
        if np.any(np.asarray(std) <= 0):
            raise ValueError(f"The standard deviation of normalization is above 0; received {std!r}.")
        return f"by the client: (x - {mean}) / {std}"

    def before(self, name: str, value: np.ndarray) -> np.ndarray:
        """The input of which the rescaling makes a value; the value itself where it keeps no shape."""
        for end in self.steps[name][:1]:
            if end.a.shape == value.shape and np.all(end.a):
                return (value - end.b) / end.a
        return value


def fills(span: Range, expected: Range) -> bool:
    """Whether values run over a range, and not over a tenth of it alone."""
    return _within(span, expected) and span[1] - span[0] >= 0.1 * (expected[1] - expected[0])


def check_span(what: str, span: Range, expected: Range) -> None:
    """Raise ValueError unless data run over the range that a graph expects."""
    low, high = expected
    if not fills(span, expected):
        raise ValueError(
            f"{what} run from {span[0]:.4g} to {span[1]:.4g}, but the graph expects {low:.4g} to {high:.4g}. "
            "Give them as the model takes them: rescaled neither twice nor not at all. If the model does "
            "take other values, say which by input_range=(lowest, highest)."
        )


def channel_values(value: npt.ArrayLike) -> Channels:
    """One number, or one for each channel, as a report keeps it."""
    array = np.asarray(value, "float64")
    return tuple(array.ravel().tolist()) if array.ndim else float(array)


def _readings(end: Rescaled, picture: bool) -> list[Range]:
    """The usual ranges that a rescaling takes to another usual one; else, of pictures, to a mean of 0."""
    pairs = end.pairs()
    found = [r for r in USUAL if any(_becomes(pairs, r, made) for made in _BECOMES[r])]
    if found or not picture:
        return found
    return [r for r in USUAL if _standardized(pairs, r)]


def _becomes(pairs: np.ndarray, given: Range, made: tuple[Any, Any]) -> bool:
    low, high = (np.sort(pairs[:, 0] * v + pairs[:, 1]) for v in given)
    ends = np.atleast_1d(made[0]), np.atleast_1d(made[1])
    if len(ends[0]) not in (1, len(low)):
        return False
    near = _NEAR * (ends[1] - ends[0]).max()
    return all(
        np.allclose(got, np.sort(wanted), rtol=0, atol=near)
        for got, wanted in zip((low, high), ends, strict=True)
    )


def _standardized(pairs: np.ndarray, given: Range) -> bool:
    """Whether values of a range, shifted and scaled, can have the mean 0 and the variance 1.

    The variance of values from -l to h with the mean 0 is at most l * h (Bhatia & Davis, 2000).
    """
    low, high = (pairs[:, 0] * v + pairs[:, 1] for v in given)
    return bool(np.all(-low * high >= 1) and max(-low.min(), high.max()) <= _FAR)


def _within(span: Range, outer: Range) -> bool:
    slack = 0.02 * (outer[1] - outer[0])
    return span[0] >= outer[0] - slack and span[1] <= outer[1] + slack


def _become(low: float, high: float, ends: Sequence[Rescaled]) -> str:
    pairs = np.concatenate([end.pairs() for end in ends])
    made = np.concatenate([pairs[:, 0] * v + pairs[:, 1] for v in (low, high)])
    return f"of {low:g} to {high:g} it makes {made.min():.4g} to {made.max():.4g}"


def _formula(end: Rescaled) -> str:
    a, b = end.pairs().T
    factor, offset = (_number(v) for v in (a, b))
    return f"x * {factor} + {offset}".replace("+ -", "- ") if np.any(b) else f"x * {factor}"


def _number(values: np.ndarray) -> str:
    least, most = f"{values.min():.4g}", f"{values.max():.4g}"
    return least if least == most else f"({least} to {most})"


def _in_words(layer: keras.Layer) -> str:
    if isinstance(layer, keras.layers.Rescaling):
        return f"Rescaling(scale={layer.scale}, offset={layer.offset})"
    return "Normalization" if isinstance(layer, keras.layers.Normalization) else ""
