"""Moving statistics of BatchNormalization, estimated again for weights that were not reached by training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasft import _keras
from kerasft.freezing import Flags
from kerasft.retention.accuracy import BATCH

Norm = keras.layers.BatchNormalization


def moved_statistics(
    function: str, model: keras.Model, weights: Sequence[tuple[keras.Variable, np.ndarray, np.ndarray]]
) -> list[keras.Layer]:
    """The BatchNormalization layers whose moving statistics training has changed.

    Those of frozen layers, and under `batch_norm="inference"`, have not changed: the model was trained with
    them as they are, and keeps them.

    Args:
        function: The function that was called, for messages.
        model: The fine-tuned model.
        weights: Variables, each with its pre-trained and its fine-tuned value.

    Raises:
        ValueError: A layer of another kind has statistics that have changed.
    """
    changed = {id(v) for v, old, new in weights if not np.array_equal(old, new)}
    layers = []
    for layer in _keras.sublayers(model):
        trained = {id(v) for v in _keras.own_trainable_variables(layer)}
        if not any(id(v) in changed and id(v) not in trained for v in _keras.own_variables(layer)):
            continue
        if not isinstance(layer, Norm):
            raise ValueError(
                f"{function}: the layer {layer.name!r} ({type(layer).__name__}) has statistics that training "
                "has changed, and only those of keras.layers.BatchNormalization can be estimated again. "
                "Leave the data for them out: they are interpolated then."
            )
        layers.append(layer)
    return layers


def check_inputs(function: str, data: Any) -> None:
    """Raise unless data are inputs: arrays, a pair of inputs and labels, or a `tf.data.Dataset`."""
    if isinstance(data, (str, bytes)) or not (
        isinstance(data, tf.data.Dataset) or all(np.ndim(leaf) for leaf in keras.tree.flatten(data))
    ):
        raise TypeError(
            f"{function} estimates statistics from an array of inputs, a pair (x, y) or a tf.data.Dataset of "
            f"batches; received {type(data).__name__}."
        )


def reestimate(model: keras.Model, layers: Sequence[keras.Layer], data: Any) -> None:
    """Set moving statistics to the mean over batches of what the layers see in training mode.

    Flags, random states and all other weights are as before in the end.

    Args:
        model: The model.
        layers: BatchNormalization layers in it.
        data: What `check_inputs` lets pass.
    """
    if not layers:
        return
    own = {id(v) for layer in layers for v in (layer.moving_mean, layer.moving_variance)}
    others = [(v, v.numpy()) for v in model.non_trainable_variables if id(v) not in own]
    random, flags, momenta = _keras.random_state(model), Flags(model), [layer.momentum for layer in layers]
    try:
        for layer in layers:
            layer.trainable = True
            _keras.set_training_mode(layer, None)
        seen = 0
        for x in _inputs(data):
            count = int(keras.tree.flatten(x)[0].shape[0])
            for layer in layers:
                layer.momentum = seen / (seen + count)  # the first batch replaces what there was
            model(x, training=True)
            seen += count
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        flags.restore()
        for variable, value in others:
            variable.assign(value)
        _keras.set_random_state(model, random)


def _inputs(data: Any) -> Iterator[Any]:
    if isinstance(data, tf.data.Dataset):
        for batch in data:
            yield batch[0] if isinstance(batch, tuple) else batch
        return
    x = data[0] if isinstance(data, tuple) else data
    for begin in range(0, len(keras.tree.flatten(x)[0]), BATCH):
        yield keras.tree.map_structure(lambda leaf, begin=begin: leaf[begin : begin + BATCH], x)
