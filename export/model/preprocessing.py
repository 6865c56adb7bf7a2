"""Preprocessing of a model's inputs: inside its graph, by the client, or not at all."""

from __future__ import annotations

import keras
import numpy as np
import numpy.typing as npt

from ..report import Channels
from .signature import layers_of


def rescaling(model: keras.Model) -> list[keras.Layer]:
    """The layers inside a model that rescale or normalize."""
    kinds = (keras.layers.Rescaling, keras.layers.Normalization)
    return [layer for layer in layers_of(model) if isinstance(layer, kinds)]


def expected_range(model: keras.Model, given: tuple[float, float] | None) -> tuple[float, float] | None:
    """The range of inputs that a graph expects: as given, or of pixels if its Rescaling shows it, or None.

    A layer that scales by s <= 1/100 and offsets by o, about 0 or -1, takes [(round(o) - o) / s,
    (1 - o) / s].
    """
    if given is not None:
        return float(given[0]), float(given[1])
    layers = [layer for layer in rescaling(model) if isinstance(layer, keras.layers.Rescaling)]
    if len(layers) != 1 or len(model.inputs) != 1:
        return None
    scale, offset = np.ravel(layers[0].scale), np.ravel(layers[0].offset)
    if len(scale) != 1 or len(offset) != 1 or not 0 < scale[0] <= 0.01:
        return None
    low = round(float(offset[0]))
    if low not in (0, -1) or abs(offset[0] - low) > 0.05:
        return None
    return float((low - offset[0]) / scale[0]), float((1 - offset[0]) / scale[0])


def channel_values(value: npt.ArrayLike) -> Channels:
    """One number, or one for each channel, as a report keeps it."""
    array = np.asarray(value, "float64")
    return tuple(array.ravel().tolist()) if array.ndim else float(array)


def describe_preprocessing(model: keras.Model, normalization: tuple[Channels, Channels] | None) -> str:
    """Where preprocessing happens, in words.

    Raises:
        ValueError: `normalization` would be applied twice, or divides by zero.
    """
    found = [
        f"Rescaling(scale={layer.scale}, offset={layer.offset})"
        if isinstance(layer, keras.layers.Rescaling)
        else "Normalization"
        for layer in rescaling(model)
    ]
    if normalization is None:
        return "in the graph: " + ", ".join(found) if found else "none"
    if found:
        raise ValueError(
            f"The model normalizes its input itself ({', '.join(found)}), so normalization={normalization} "
            "would be applied twice. Leave it out."
        )
    mean, std = normalization
    if np.any(np.asarray(std) <= 0):
        raise ValueError(f"The standard deviation of normalization is above 0; received {std!r}.")
    return f"by the client: (x - {mean}) / {std}"
