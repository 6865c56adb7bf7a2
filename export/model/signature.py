"""A model's inputs and outputs: their names, their structure, and the function that is served."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from ..errors import ExportError
from ..tflite_file import quiet
from .failures import told
from .layer_names import layers_named_in


def check_model(model: Any) -> None:
    """Raise unless `model` is a built Keras model with known inputs."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"Only a keras.Model can be exported, not {type(model).__name__}.")
    if not model.built:
        raise ValueError(f"The model {model.name!r} is not built. Give it a keras.Input, or call it once.")
    try:
        inputs = model.inputs
    except (AttributeError, ValueError):
        inputs = None
    if not inputs:
        raise ValueError(
            f"The inputs of {model.name!r} are not known, as it is a subclassed model. Wrap it: "
            "inputs = keras.Input(shape); keras.Model(inputs, model(inputs))."
        )
    structure = input_structure(model)
    parts = structure.values() if isinstance(structure, dict) else structure
    if isinstance(structure, dict | list | tuple) and _by_keys(list(parts)):
        raise ValueError(
            f"The inputs of {model.name!r} are nested, which a signature has no names for. Wrap the model in "
            "one whose inputs are a flat list or dict."
        )


def input_structure(model: keras.Model) -> Any:
    """The symbolic inputs as the model takes them: a tensor, a list or a dict."""
    return model.inputs[0] if isinstance(model, keras.Sequential) else model.input


def input_specs(model: keras.Model) -> Any:
    """Specs of the inputs in the structure in which the model takes them."""

    def spec(tensor: Any) -> tf.TensorSpec:
        return tf.TensorSpec(tensor.shape, tensor.dtype, name=_argument_name(tensor.name))

    structure = input_structure(model)
    if isinstance(structure, dict):
        return {k: spec(t) for k, t in structure.items()}
    if isinstance(structure, list | tuple):
        return [spec(t) for t in structure]
    return spec(structure)


def input_keys(model: keras.Model) -> list[str]:
    """Keys of the inputs in the model's data, in the order of `model.inputs`, not that of a dict."""
    structure = input_structure(model)
    if isinstance(structure, dict):
        keys = {id(tensor): key for key, tensor in structure.items()}
        return [keys[id(tensor)] for tensor in model.inputs]
    return [tensor.name for tensor in model.inputs]


def input_names(model: keras.Model) -> list[str]:
    """Names of the inputs in the signature, in the order of `model.inputs`."""
    return _unique([_argument_name(key) for key in input_keys(model)])


def output_names(model: keras.Model) -> list[str]:
    """Names of the outputs in the order in which Keras flattens them."""
    if not isinstance(model, keras.Sequential) and _by_keys(model.output):
        return list(by_name(model, model.output))
    names = getattr(model, "output_names", None) or [f"output_{i}" for i in range(len(model.outputs))]
    return _unique([_argument_name(n) for n in names])


def by_name(model: keras.Model, outputs: Any) -> dict[str, Any]:
    """The model's outputs under their names."""
    if _by_keys(outputs):
        paths, values = zip(*keras.tree.flatten_with_path(outputs), strict=True)
        names = _unique([_argument_name("_".join(map(str, path))) for path in paths])
        return dict(zip(names, values, strict=True))
    flat = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
    return dict(zip(output_names(model), flat, strict=True))


def pack_inputs(model: keras.Model, named: Mapping[str, Any]) -> Any:
    """Named inputs in the structure in which the model takes them."""
    structure = input_structure(model)
    values = [named[name] for name in input_names(model)]
    if isinstance(structure, dict):
        return dict(zip(input_keys(model), values, strict=True))
    return values if isinstance(structure, list | tuple) else values[0]


def serving(
    model: keras.Model,
    infer: Callable[[Any], Any],
    batch: int | None = None,
    sizes: Mapping[str, Sequence[int]] | None = None,
) -> Any:
    """A concrete function from named inputs to named outputs.

    Args:
        model: The model.
        infer: What computes its outputs.
        batch: The size of the batch; None for the model's own.
        sizes: The other axes of each input by name; by default the model's own.

    Raises:
        ExportError: A layer writes a variable in inference, which a file of a function can't.
    """

    @tf.function(autograph=False)
    def serve(**named: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = by_name(model, infer(pack_inputs(model, named)))
        return {name: tf.identity(value, name=name) for name, value in outputs.items()}

    named = {
        name: tf.TensorSpec(
            [batch or tensor.shape[0], *(sizes[name] if sizes else tensor.shape[1:])], tensor.dtype, name=name
        )
        for name, tensor in zip(input_names(model), model.inputs, strict=True)
    }
    traced = serve.get_concrete_function(**named)
    writes = [o.name for o in traced.graph.get_operations() if o.type.startswith("Assign")]
    if writes:
        layers = ", ".join(layers_named_in(model, " ".join(writes))) or "a layer"
        raise ExportError(
            f"{model.name!r} changes while it is used: {layers} writes a variable at each call, such as a "
            "state or a random seed, and a file computes from its inputs alone. Build the layer with "
            "stateful=False and copy the weights with set_weights(); where a state has to go on, make it an "
            "input (initial_state) and an output (return_state)."
        )
    return traced


def serving_of(
    model: keras.Model, batch: int | None = None, sizes: Mapping[str, Sequence[int]] | None = None
) -> Any:
    """A model's inference as a concrete function; see `serving`.

    Raises:
        ExportError: The model can't be traced; the message names the layer.
    """
    remedy = (
        "Write the layer with TensorFlow's or keras.ops' functions of tensors alone; where it is one of "
        "Keras, with sizes that are open, fix them: inputs = keras.Input((224, 224, 3)); "
        "keras.Model(inputs, model(inputs)), with your own size."
    )
    with quiet(), told(model, "can't be traced as a graph, which a file is made of", remedy):
        return serving(model, lambda inputs: model(inputs, training=False), batch, sizes)


def signature_inputs(signature: Any) -> list[str]:
    """Names of a concrete function's inputs, in the order of its tensors."""
    return sorted(signature.structured_input_signature[1])


def tables_of(model: keras.Model) -> list[Any]:
    """Lookup tables of layers that look up words, which a SavedModel has to find beside the variables."""
    inner = [layer for outer in layers_of(model) for layer in (outer, *vars(outer).values())]
    tables = [getattr(layer, "lookup_table", None) for layer in inner if isinstance(layer, keras.Layer)]
    return [table for table in tables if table is not None]


def layers_of(model: keras.Model) -> Iterator[keras.Layer]:
    """The layers of a model and of the models and wrapped layers inside it."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from layers_of(layer)
        elif isinstance(getattr(layer, "layer", None), keras.Layer):
            yield layer.layer


def _by_keys(structure: Any) -> bool:
    """Whether tensors hang in a dict, or in a list of dicts or lists, and are named by their paths."""
    if isinstance(structure, list | tuple):
        return any(isinstance(item, dict | list | tuple) for item in structure)
    return isinstance(structure, dict)


def _argument_name(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_") or "input"


def _unique(names: list[str]) -> list[str]:
    return [n if names.index(n) == i else f"{n}_{i}" for i, n in enumerate(names)]
