"""TF2 SavedModels: for serving, and in the reusable form that can be fine-tuned again."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from .files import replacing

logger = logging.getLogger(__name__)


def to_saved_model(
    model: keras.Model, path: str | os.PathLike[str], *, reusable: bool = True, overwrite: bool = False
) -> Path:
    """Write a Keras model as a TF2 SavedModel.

    The signature `serving_default` has the model's input and output names and runs inference: dropout and
    random augmentation are inactive. The model itself is not changed.

    Args:
        model: A built Functional or Sequential model.
        path: The folder to be made.
        reusable: Also write `__call__(inputs, training)`, `variables`, `trainable_variables` and
            `regularization_losses`, so that `kerasft.hub.load_backbone` and `tensorflow_hub.KerasLayer` can
            fine-tune it. Weights count as trainable whether or not they are frozen now.
        overwrite: Replace an existing folder, once the new one is whole.

    Returns:
        The folder.

    Raises:
        TypeError: `model` is not a Keras model.
        ValueError: It is unbuilt, or its inputs are not known.
        FileNotFoundError, FileExistsError, OSError: The folder can't be made.

    Example:
        ```python
        kerasft.export.to_saved_model(model, "backbone")
        backbone = kerasft.hub.load_backbone("backbone")
        ```

    References:
        https://www.tensorflow.org/hub/reusable_saved_models
    """
    check_model(model)
    with replacing(path, overwrite=overwrite) as folder:
        if reusable:
            module, signature = _reusable(model)
        else:
            module = tf.Module()
            module.model_variables = [v.value for v in model.variables]
            module.tables = tables_of(model)
            signature = serving(model, lambda inputs: model(inputs, training=False))
        tf.saved_model.save(module, str(folder), signatures=signature)
    return Path(path)


def _reusable(model: keras.Model) -> tuple[Any, Any]:
    """An object with a model's reusable interface, and its serving signature.

    It holds copies of the model's variables, named by layer (Keras calls them all `kernel`), and the model's
    calls traced on the copies.
    """
    can_train = trainable_when_thawed(model)
    copies = {
        id(v): tf.Variable(v.value, trainable=id(v) in can_train, name=_variable_name(v.path))
        for v in model.variables
    }
    trainable, fixed = list(model.trainable_variables), list(model.non_trainable_variables)

    def call(inputs: Any, training: bool = False) -> Any:
        outputs, new = model.stateless_call(
            [copies[id(v)] for v in trainable], [copies[id(v)] for v in fixed], inputs, training=training
        )
        if training:
            for variable, value in zip(fixed, new, strict=True):
                copy = copies[id(variable)]
                copy.assign(tf.cast(value, copy.dtype))
        return outputs

    traced = tf.function(call, autograph=False)
    for training in (False, True):
        traced.get_concrete_function(input_specs(model), training=training)
    module = tf.train.Checkpoint()
    module.__call__ = traced
    module.variables = list(copies.values())
    module.trainable_variables = [copies[id(v)] for v in model.variables if id(v) in can_train]
    module.tables = tables_of(model)
    module.regularization_losses = [
        tf.function(_penalty(v.regularizer, copies[id(v)]), input_signature=[])
        for v in model.variables
        if getattr(v, "regularizer", None) is not None and id(v) in can_train
    ]
    return module, serving(model, call)


def _penalty(regularizer: Callable[[Any], Any], variable: tf.Variable) -> Callable[[], tf.Tensor]:
    return lambda: tf.convert_to_tensor(regularizer(tf.convert_to_tensor(variable)))


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
    """What the model's data call its inputs, in the order of `model.inputs`, which is not that of a dict."""
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
    if not isinstance(model, keras.Sequential) and isinstance(model.output, dict):
        return [_argument_name(k) for k in sorted(model.output)]
    names = getattr(model, "output_names", None) or [f"output_{i}" for i in range(len(model.outputs))]
    return _unique([_argument_name(n) for n in names])


def by_name(model: keras.Model, outputs: Any) -> dict[str, Any]:
    """The model's outputs under their names."""
    if isinstance(outputs, dict):
        return {_argument_name(k): v for k, v in outputs.items()}
    flat = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
    return dict(zip(output_names(model), flat, strict=True))


def pack_inputs(model: keras.Model, named: dict[str, Any]) -> Any:
    """Named inputs in the structure in which the model takes them."""
    structure = input_structure(model)
    values = [named[name] for name in input_names(model)]
    if isinstance(structure, dict):
        return dict(zip(input_keys(model), values, strict=True))
    return values if isinstance(structure, list | tuple) else values[0]


def serving(model: keras.Model, infer: Callable[[Any], Any], batch: int | None = None) -> Any:
    """A concrete function from named inputs to named outputs."""

    @tf.function(autograph=False)
    def serve(**named: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = by_name(model, infer(pack_inputs(model, named)))
        return {name: tf.identity(value, name=name) for name, value in outputs.items()}

    named = {
        name: tf.TensorSpec([batch or tensor.shape[0], *tensor.shape[1:]], tensor.dtype, name=name)
        for name, tensor in zip(input_names(model), model.inputs, strict=True)
    }
    return serve.get_concrete_function(**named)


def tables_of(model: keras.Model) -> list[Any]:
    """What layers that look up words hold beside variables, for a SavedModel to find it."""
    inner = [layer for outer in layers_of(model) for layer in (outer, *vars(outer).values())]
    tables = [getattr(layer, "lookup_table", None) for layer in inner if isinstance(layer, keras.Layer)]
    return [table for table in tables if table is not None]


def trainable_when_thawed(model: keras.Model) -> set[int]:
    """Ids of the variables that train once nothing is frozen: no statistics, seeds or counters."""
    never: set[int] = set()
    for layer in layers_of(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            never |= {id(layer.moving_mean), id(layer.moving_variance)}
        elif isinstance(layer, keras.layers.Normalization):
            never |= {id(v) for v in layer.weights}
        elif hasattr(layer, "trainable_when_thawed"):  # a stage by itself, such as those of a Hub backbone
            never |= {id(v) for v in layer.weights} - {id(v) for v in layer.trainable_when_thawed}
    return {
        id(v)
        for v in model.variables
        if v.trainable
        or (
            id(v) not in never
            and tf.as_dtype(v.dtype).is_floating
            and not v.name.startswith(("moving_", "seed_generator"))
        )
    }


def layers_of(model: keras.Model) -> Iterator[keras.Layer]:
    """The layers of a model and of the models and wrapped layers inside it."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from layers_of(layer)
        elif isinstance(getattr(layer, "layer", None), keras.Layer):
            yield layer.layer


def _argument_name(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_") or "input"


def _variable_name(path: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.\-/]", "_", path)


def _unique(names: list[str]) -> list[str]:
    return [n if names.index(n) == i else f"{n}_{i}" for i, n in enumerate(names)]
