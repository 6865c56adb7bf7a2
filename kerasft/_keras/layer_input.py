"""What layers of a model are given, whichever way the model calls them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
        given, outputs = layer_inputs(model, [layer], x)
        return given[0], outputs

    functions: dict[str, Any] = {}

    def run(x: Any) -> tuple[tf.Tensor, Any]:
        spec = keras.tree.map_structure(lambda t: tf.TensorSpec([None, *t.shape[1:]], t.dtype), x)
        if (key := str(spec)) not in functions:
            functions[key] = traced.get_concrete_function(spec)
        return functions[key](x)

    return run


def layer_inputs(model: keras.Model, layers: Sequence[keras.Layer], x: Any) -> tuple[list[tf.Tensor], Any]:
    """Call a model as in inference; what each of the layers is given, and the model's outputs.

    Args:
        model: A built model of any kind.
        layers: Layers anywhere in it, each once.
        x: A batch.

    Raises:
        ValueError: The model does not call one of the layers exactly once, and with one tensor.
    """
    given: dict[int, list[tf.Tensor]] = {id(layer): [] for layer in layers}

    def called(layer: keras.Layer, call: Any) -> Any:
        if len(call.args) != 1 or not tf.is_tensor(call.args[0]):
            raise ValueError(f"The layer {layer.name!r} is called with other than one tensor.")
        given[id(layer)].append(call.args[0])
        return call()

    with watched_calls(layers, called):
        outputs = model(x, training=False)
    for layer in layers:
        if len(given[id(layer)]) != 1:
            raise ValueError(
                f"{model.name!r} calls the layer {layer.name!r} {len(given[id(layer)])} times in a pass, not "
                "once."
            )
    return [tensors[0] for tensors in given.values()], outputs
