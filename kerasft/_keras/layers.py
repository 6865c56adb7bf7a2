"""A layer's own parts: sublayers, variables, masks, losses and random generators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf


def sublayers(layer: keras.Layer) -> Iterator[keras.Layer]:
    """Yield `layer` and all layers inside it once each, every layer after all those that hold it.

    So a loop that sets flags ends with the flags that it set: a parent's flag overwrites its children's, and
    a layer that two parents share comes after both.
    """
    seen: set[int] = set()
    found: list[keras.Layer] = []

    def visit(node: keras.Layer) -> None:
        if id(node) in seen:
            return
        seen.add(id(node))
        for child in reversed(children(node)):
            visit(child)
        found.append(node)

    visit(layer)
    return reversed(found)


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


def has_lora(layer: keras.Layer) -> bool:
    """Whether LoRA is enabled in `layer` itself."""
    return bool(getattr(layer, "lora_enabled", False))


def lora_bases(layer: keras.Layer) -> list[keras.Variable]:
    """List the weights of `layer` that LoRA adapts and a thaw would train; none without LoRA."""
    if not has_lora(layer):
        return []
    bases = [getattr(layer, name, None) for name in ("_kernel", "_embeddings")]
    return [v for v in own_trainable_variables(layer) if any(v is base for base in bases)]


def lora_values(model: keras.Model) -> list[np.ndarray]:
    """Read the weights of the layers in which LoRA is enabled.

    A weights file of Keras holds their products alone: when it is loaded, `a` and `b` become 0, and never
    train again.
    """
    return [v.numpy() for v in _lora_weights(model)]


def set_lora_values(model: keras.Model, values: Sequence[np.ndarray]) -> None:
    """Put back what `lora_values` returned; without values nothing changes."""
    for variable, value in zip(_lora_weights(model), values, strict=True) if values else ():
        variable.assign(value)


def _lora_weights(model: keras.Model) -> list[keras.Variable]:
    return [v for layer in sublayers(model) if has_lora(layer) for v in own_variables(layer)]


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


def takes_training(layer: keras.Layer) -> bool:
    """Whether a layer's `call` is told whether the model trains."""
    return bool(layer._call_has_training_arg)


def has_own_call(layer: object) -> bool:
    """Whether a layer's class has a `__call__` of its own, around Keras's."""
    return isinstance(layer, keras.Layer) and type(layer).__call__ is not keras.Layer.__call__


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
