"""A layer's own parts: sublayers, variables, masks, losses and random generators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf


def sublayers(layer: keras.Layer) -> Iterator[keras.Layer]:
    """Yield `layer` and all layers inside it once each, parents before their children."""
    seen: set[int] = set()

    def visit(node: keras.Layer) -> Iterator[keras.Layer]:
        if id(node) in seen:
            return
        seen.add(id(node))
        yield node
        for child in children(node):
            yield from visit(child)

    return visit(layer)


def children(layer: keras.Layer) -> list[keras.Layer]:
    """List the layers directly inside `layer`."""
    return list(layer._layers)


def unbuilt(model: keras.Model) -> list[str]:
    """Names of the layers inside a model that are not built yet."""
    return [layer.name for layer in list(sublayers(model))[1:] if not layer.built]


def own_variables(layer: keras.Layer) -> list[keras.Variable]:
    """List the weights that `layer` holds itself, those of its sublayers excluded."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def own_trainable_variables(layer: keras.Layer) -> list[keras.Variable]:
    """List the weights of `layer` itself that a thaw would train, whatever its flag is now."""
    return list(layer._trainable_variables)


def mask_of(tensor: tf.Tensor) -> tf.Tensor | None:
    """Return the mask that Keras has attached to a tensor, or None."""
    return getattr(tensor, "_keras_mask", None)


def with_mask(tensor: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Attach a mask to `tensor` and return it; None attaches none."""
    if mask is not None:
        tensor._keras_mask = mask
    return tensor


def has_losses(layer: object) -> bool:
    """Whether a layer, or one inside it, has called `add_loss` since the last call of its model began."""
    return isinstance(layer, keras.Layer) and any(part._losses for part in sublayers(layer))


def random_variables(layer: object) -> list[keras.Variable]:
    """List the states of the random generators in a layer."""
    if not isinstance(layer, keras.Layer):
        return []
    weights = {id(v) for v in layer.weights}
    return [g.state for s in sublayers(layer) for g in s._seed_generators if id(g.state) not in weights]


def takes_training(layer: keras.Layer) -> bool:
    """Whether a layer's `call` is told whether the model trains."""
    return bool(layer._call_has_training_arg)


def in_safe_mode() -> bool:
    """Whether Keras is loading a model whose file must not be trusted (its default)."""
    from keras.src.saving.serialization_lib import in_safe_mode as keras_in_safe_mode

    return keras_in_safe_mode() is not False


def random_state(model: keras.Model) -> list[list[int]]:
    """Read the states of the model's random generators (dropout's, say), which no weights file holds."""
    return [v.numpy().tolist() for v in _generators(model)]


def set_random_state(model: keras.Model, states: Sequence[Sequence[int]]) -> None:
    """Put back what `random_state` returned."""
    for variable, state in zip(_generators(model), states, strict=True):
        variable.assign(np.array(state, variable.dtype))


def _generators(model: keras.Model) -> list[keras.Variable]:
    others = {id(v) for v in [*model.weights, *model.metrics_variables]}
    return [v for v in model.variables if id(v) not in others]
