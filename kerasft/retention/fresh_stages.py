"""reinitialize: the top stages of a backbone begin from their initializers again."""

from __future__ import annotations

import random

import keras
import numpy as np

from kerasft import _keras
from kerasft.arguments import check_integer
from kerasft.stages import StageLayer, Stages, find_stages


def reinitialize(model: keras.Model | Stages, stages: int = 1, *, seed: int = 0) -> list[str]:
    """Give the last stages before the head new weights, from their layers' own initializers.

    The top layers of a pre-trained network are the most specialized to its task, and fine-tuning from new
    ones is often as good on few samples, and steadier. Moving statistics begin at 0 and 1 again. Call it
    before training: an optimizer keeps what it knows of the old weights.

    Args:
        model: A model with a head: its last stage is left as it is.
        stages: How many stages, counted down from the last one before the head.
        seed: Of the random numbers; an initializer that has a seed of its own keeps it.

    Returns:
        The names of these stages.

    Raises:
        TypeError: `model` is no model, or `stages` no integer.
        ValueError: There are not so many stages before the head, or a layer has no initializers: a stage of a
            SavedModel, or a layer that can't be made again from its configuration. Nothing has changed then.

    Example:
        >>> net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="a"),
        ...                         keras.layers.Dense(3, name="b"), keras.layers.Dense(2, name="top")])
        >>> reinitialize(net)
        ['b']

    References:
        Zhang et al. (2021), Revisiting few-sample BERT fine-tuning, arXiv:2006.05987, section 5.
    """
    check_integer("stages", stages, at_least=1)
    check_integer("seed", seed, at_least=0)
    found = find_stages(model)
    if stages > len(found) - 1:
        raise ValueError(
            f"{found.model.name!r} has {len(found) - 1} stages before its last one, the head; received "
            f"stages={stages}. Its stages are {found.names}."
        )
    chosen = found[len(found) - 1 - stages : len(found) - 1]
    layers = [layer for stage in chosen for layer in stage.layers if _keras.own_variables(layer)]
    state = random.getstate()
    try:
        random.seed(seed)  # from which initializers without a seed of their own take one
        values = [(layer, _fresh(layer)) for layer in layers]
    finally:
        random.setstate(state)
    for layer, arrays in values:
        for variable, array in zip(_keras.own_variables(layer), arrays, strict=True):
            variable.assign(array)
    return [stage.name for stage in chosen]


def _fresh(layer: keras.Layer) -> list[np.ndarray]:
    """The weights of a new layer of the same configuration."""
    if isinstance(layer, StageLayer):
        raise ValueError(_no_initializers(layer, "a SavedModel holds values, and not how they began"))
    built = layer.get_build_config()
    try:
        new = type(layer).from_config(layer.get_config())
        if built is not None:
            new.build_from_config(built)
        arrays = [variable.numpy() for variable in _keras.own_variables(new)]
    except Exception as error:  # of a user's layer: any kind
        raise ValueError(_no_initializers(layer, str(error))) from error
    if [a.shape for a in arrays] != [tuple(v.shape) for v in _keras.own_variables(layer)]:
        raise ValueError(_no_initializers(layer, "its configuration makes weights of other shapes"))
    return arrays


def _no_initializers(layer: keras.Layer, reason: str) -> str:
    return (
        f"The layer {layer.name!r} ({type(layer).__name__}) can't begin from its initializers again: "
        f"{reason}. Ask for fewer stages, or assign weights of your own."
    )
