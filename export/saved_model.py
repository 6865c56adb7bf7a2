"""TF2 SavedModels: for serving, and in the reusable form that can be fine-tuned again."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from .files import replacing
from .model import check_model, input_specs, layers_of, prepared, serving, tables_of, told


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
        ExportError: `predict` does something to data outside of the call that can't be written, as resizing
            and rescaling by a preprocessor is; a layer can't be traced, or changes its state in inference.
            The message names it.

    Example:
        ```python
        kerasft.export.to_saved_model(model, "backbone")
        backbone = kerasft.hub.load_backbone("backbone")
        ```

    References:
        https://www.tensorflow.org/hub/reusable_saved_models
    """
    check_model(model)
    ready = prepared(model, tflite=False)
    if reusable and ready.inference_only:
        raise ValueError(
            f"{model.name!r} has a predict_step of its own, which computes in inference alone: written with "
            "it, the model could not be trained further. Write what it serves by reusable=False, or what its "
            "call computes: keras.Model(model.input, model.output)."
        )
    model = ready.model
    remedy = "Correct or replace the layer; build one that keeps a state with stateful=False."
    with replacing(path, overwrite=overwrite) as folder, told(model, "can't be saved", remedy):
        if reusable:
            module, signature = _reusable(model)
        else:
            module = tf.Module()
            module.model_variables = [v.value for v in model.variables]
            module.tables = tables_of(model)
            signature = serving(model, lambda inputs: model(inputs, training=False))
        tf.saved_model.save(module, str(folder), signatures=signature)
    return Path(path)


def _reusable(model: keras.Model) -> tuple[tf.train.Checkpoint, Any]:
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


def _variable_name(path: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.\-/]", "_", path)
