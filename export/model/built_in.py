"""A model with what happens to its data before and after its call inside, as layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..errors import ExportError
from .affine_pictures import measured_map
from .predicting import leaves_of, sizes_of
from .signature import by_name, input_keys

# Operations of pictures that TFLite's built-in ones lack, and that products of matrices can stand for.
_NOT_BUILT_IN = {"ScaleAndTranslate", "ResizeBicubic", "ResizeArea"}


@keras.saving.register_keras_serializable(package="kerasft.export")
class PredictStep(keras.layers.Layer):
    """A function of data, such as a preprocessor or `predict_step`, as a layer."""

    def __init__(self, function: Callable[[Any], Any], name: str, layer: keras.Layer | None = None) -> None:
        super().__init__(name=name, autocast=False)
        self.function = function
        if layer is not None:
            self.layer = layer  # whose weights are these
        self.built = True

    def call(self, inputs: Any) -> Any:
        return self.function(inputs)


def built_in(
    model: keras.Model,
    transform: tuple[Callable[[Any], Any], str] | None,
    raw: Any,
    given: list[Any],
    *,
    steps: bool,
    tflite: bool,
    fits: Callable[[keras.Model], bool],
) -> keras.Model | None:
    """A model from what `predict` takes to what it gives; None where that can't be built.

    Args:
        model: The model.
        transform: What happens to data before its call, with its name; None for nothing.
        raw: A few samples as `predict` takes them.
        given: All data, whose sizes are looked at.
        steps: Whether `predict_step` computes the outputs, not the call.
        tflite: Whether only operations that are built into TFLite count.
        fits: Whether a model gives for the samples what `predict` does.

    Raises:
        ExportError: TFLite has no operations for it; the message names it.
    """
    sizes = [sizes_of(given, raw)]
    if not tflite:
        sizes = [[(None, None, *s[2:]) if len(s) == 3 else s for s in sizes[0]], sizes[0]]
    for shapes in sizes:
        for kind in (None, *({a.dtype for a in map(np.asarray, leaves_of(raw)) if a.dtype.kind in "ui"})):
            try:
                found = _composed(model, transform, raw, shapes, kind, steps, tflite)
                if fits(found):
                    return found
            except ExportError:
                raise
            except Exception:  # whatever the user's code raises when it is traced: it can't be built in
                continue
    return None


def _composed(
    model: keras.Model,
    transform: tuple[Callable[[Any], Any], str] | None,
    raw: Any,
    shapes: list[Any],
    kind: Any,
    steps: bool,
    tflite: bool,
) -> keras.Model:
    """The model with what happens to its data inside."""
    whole = all("float" in t.dtype for t in model.inputs)
    names = input_keys(model)
    flat = [np.asarray(leaf) for leaf in leaves_of(raw)]
    if isinstance(raw, dict):
        names = list(raw)
    elif len(flat) != len(names):
        names = [f"input_{i}" for i in range(len(flat))]
    inputs = [
        keras.Input(shape, name=name, dtype="float32" if whole or a.dtype.kind == "f" else "int32")
        for name, shape, a in zip(names, shapes, flat, strict=True)
    ]
    packed: Any = inputs[0] if not isinstance(raw, dict | list | tuple) else list(inputs)
    if isinstance(raw, dict):
        packed = dict(zip(names, inputs, strict=True))
    x: Any = packed
    if kind is not None:
        x = keras.tree.map_structure(lambda t: keras.ops.cast(t, str(np.dtype(kind))), x)
    if transform is not None:
        function, named = transform
        if tflite and _lacks_built_ins(function, inputs, isinstance(packed, dict | list)):
            if None in tuple(inputs[0].shape)[1:]:
                raise ExportError(
                    f"The {named} of {model.name!r} resizes pictures in a way that TFLite has "
                    "no operation for (antialiased, bicubic or by area), and the data have pictures of "
                    "several sizes, so that no matrix can stand for it. Give data of one size, or let the "
                    "client resize: export keras.Model(model.input, model.output)."
                )
            function = measured_map(function, tuple(inputs[0].shape)[1:])
        x = PredictStep(function, _plain_name(model))(x)
    if steps:
        outputs = PredictStep(_predict_step(model), "predict_step", model)(x)
    else:
        outputs = model(x)
    return keras.Model(packed, by_name(model, outputs), name=f"{model.name}_predict")


def _predict_step(model: keras.Model) -> Callable[[Any], Any]:
    return lambda x: model.predict_step(keras.utils.pack_x_y_sample_weight(x))


def _plain_name(model: keras.Model) -> str:
    name = getattr(getattr(model, "preprocessor", None), "name", None)
    return name if isinstance(name, str) else "preprocessor"


def _lacks_built_ins(transform: Callable[[Any], Any], inputs: list[Any], nested: bool) -> bool:
    """Whether tracing a transformation of pictures gives operations that TFLite has none of."""
    if nested or len(inputs[0].shape) != 4:
        return False
    traced = tf.function(transform, autograph=False).get_concrete_function(
        tf.TensorSpec([1, *tuple(inputs[0].shape)[1:]], "float32")
    )
    return any(o.type in _NOT_BUILT_IN for o in traced.graph.get_operations())
