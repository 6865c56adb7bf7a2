"""A model of images at another size than it was trained at, with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import keras

from .failures import plain
from .signature import check_model


def at_image_size(model: keras.Model, height: int, width: int) -> keras.Model:
    """Build a model again for images of another size, and give it the same weights.

    Layers are made of their configuration and called in the order of the model's graph, those of nested
    models as well, so that each sees the shapes of the new size. A network of convolutions that ends in a
    global pooling takes any size; a Dense layer after Flatten or a table of positions belongs to one.

    Args:
        model: A Functional or Sequential model with one input (batch, height, width, channels).
        height: Of the new images, in pixels.
        width: Of the new images, in pixels.

    Returns:
        A new model, whose input and layers have the same names; `model` and its weights stay as they are.

    Raises:
        TypeError, ValueError: The model is another one, or a layer of it belongs to the old size; the
            message names it.

    Example:
        >>> inputs = keras.Input((96, 96, 3))
        >>> x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
        >>> at_image_size(keras.Model(inputs, x), 64, 64).input.shape
        (None, 64, 64, 3)
    """
    check_model(model)
    shape = tuple(model.inputs[0].shape)
    if len(model.inputs) != 1 or len(shape) != 4:
        raise ValueError(
            "Only a model with one input (batch, height, width, channels) has an image size; the inputs are "
            f"{[tuple(t.shape) for t in model.inputs]}."
        )
    if not isinstance(model, keras.Sequential) and type(model) is not _functional_class():
        raise ValueError(
            f"{type(model).__name__} is a class of its own, of which no copy at {height} × {width} pixels "
            "can be made. Wrap its layers in keras.Model(inputs, outputs), or build it at that size yourself."
        )
    copies: dict[int, tuple[Any, Any]] = {}  # by the layer's id, the layer and its copy
    built = _rebuilt(model, [(shape[0], height, width, shape[3])], copies, f"{height} × {width} pixels")
    for layer, copy in copies.values():
        if isinstance(layer, keras.Layer) and not _has_graph(layer):
            _take_weights(layer, copy, f"{height} × {width} pixels")
    return built


def _rebuilt(model: Any, shapes: list[Any], copies: dict[int, tuple[Any, Any]], size: str) -> keras.Model:
    """A copy of a model with a graph, without its weights, on inputs of the given shapes."""

    def clone(layer: Any) -> Any:
        if _has_graph(layer):  # copied where it is called, for the shapes that reach it
            return layer
        if id(layer) not in copies:
            copies[id(layer)] = layer, type(layer).from_config(layer.get_config())
        return copies[id(layer)][1]

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        given = [t for t in keras.tree.flatten((args, kwargs)) if isinstance(t, keras.KerasTensor)]
        try:
            if _has_graph(layer):
                if id(layer) not in copies:
                    copies[id(layer)] = layer, _rebuilt(layer, [t.shape for t in given], copies, size)
                layer = copies[id(layer)][1]
            return layer(*args, **kwargs)
        except _LayerError:
            raise
        except Exception as error:  # a layer of the user's own can raise anything
            why = plain(str(error).partition("Arguments received by")[0], 200)
            taken = ", ".join(str(tuple(t.shape)) for t in given)
            raise _LayerError(
                f"The layer {layer.name!r} ({type(layer).__name__}) can't take what reaches it at {size}, of "
                f"the shape {taken}: {why} {_ADVICE}"
            ) from error

    graph = model
    if isinstance(model, keras.Sequential):
        graph = keras.Model(model.inputs[0], model.outputs[0])
    inputs = iter(shapes)
    tensors = keras.tree.map_structure(lambda t: _input_like(t, next(inputs)), graph.input)
    copy: keras.Model = _cloned(graph, tensors, clone, call)
    return keras.Model(copy.input, copy.output, name=model.name)


def _cloned(
    model: keras.Model, inputs: Any, clone: Callable[..., Any], call: Callable[..., Any]
) -> keras.Model:
    return keras.models.clone_model(model, input_tensors=inputs, clone_function=clone, call_function=call)


_ADVICE = "That part of the model belongs to the size that it was trained at: leave the size as it is."


class _LayerError(ValueError):
    """An error that names its layer already."""


def _input_like(tensor: Any, shape: Any) -> Any:
    """An input of the name and dtype of another one, which is open where that is open."""
    axes = [new if old is not None else None for old, new in zip(tensor.shape, shape, strict=True)]
    return keras.Input(batch_shape=axes, dtype=tensor.dtype, name=tensor.name)


@cache
def _functional_class() -> type:
    """The class of models that are made of inputs and outputs."""
    tensor = keras.Input(())
    return type(keras.Model(tensor, keras.layers.Identity()(tensor)))


def _has_graph(layer: Any) -> bool:
    return isinstance(layer, keras.Sequential | _functional_class())


def _take_weights(layer: keras.Layer, copy: keras.Layer, size: str) -> None:
    """Give a copy the weights of a layer.

    Raises:
        ValueError: It has others.
    """
    ours, theirs = layer.weights, copy.weights
    for old, new in zip(ours, theirs, strict=False):
        if old.shape != new.shape:
            raise ValueError(
                f"The layer {layer.name!r} ({type(layer).__name__}) has the weight {old.name!r} of the shape "
                f"{tuple(old.shape)}, which would be {tuple(new.shape)} at {size}. {_ADVICE}"
            )
    if len(ours) != len(theirs):
        raise ValueError(
            f"The layer {layer.name!r} ({type(layer).__name__}) has {len(ours)} weights, and its copy at "
            f"{size} has {len(theirs)}. {_ADVICE}"
        )
    copy.set_weights(layer.get_weights())
