"""What a layer of a model is given, whichever way the model calls it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from kerasft._keras.inner_calls import watched_calls


def layer_input(model: keras.Model, layer: keras.Layer) -> Callable[[Any], tuple[tf.Tensor, Any]]:
    """A function of a batch: what the layer is given, and the model's outputs, as in inference.

    It is traced once for batches of any size. Its first call raises ValueError if the model does not call
    the layer exactly once, and with one tensor.

    Args:
        model: A built model of any kind.
        layer: A layer anywhere in it.
    """

    @tf.function(autograph=False)
    def traced(x: Any) -> tuple[tf.Tensor, Any]:
        given: list[tf.Tensor] = []

        def called(_: keras.Layer, call: Any) -> Any:
            if len(call.args) != 1 or not tf.is_tensor(call.args[0]):
                raise ValueError(f"The layer {layer.name!r} is called with other than one tensor.")
            given.append(call.args[0])
            return call()

        with watched_calls([layer], called):
            outputs = model(x, training=False)
        if len(given) != 1:
            raise ValueError(
                f"{model.name!r} calls the layer {layer.name!r} {len(given)} times in a pass, not once."
            )
        return given[0], outputs

    functions: dict[str, Any] = {}

    def run(x: Any) -> tuple[tf.Tensor, Any]:
        spec = keras.tree.map_structure(lambda t: tf.TensorSpec([None, *t.shape[1:]], t.dtype), x)
        if (key := str(spec)) not in functions:
            functions[key] = traced.get_concrete_function(spec)
        return functions[key](x)

    return run
