"""The loss and metrics for a model that was not compiled, from its output and its targets."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasft import _keras


def loss_for(model: keras.Model, targets: Any) -> tuple[keras.losses.Loss, list[str]]:
    """The usual loss for a model's output and its targets, and whether accuracy can be measured.

    Args:
        model: A built model with one output.
        targets: Some targets, or a `tf.TensorSpec` of them: shape and dtype are looked at.

    Returns:
        Cross-entropy (sparse for integers; from logits unless the last activation is softmax or sigmoid) for
        classes, mean squared error otherwise; and `["accuracy"]` for classes.

    Raises:
        ValueError: The model has several outputs, or the targets several parts or none.

    Example:
        >>> net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
        >>> loss_for(net, np.array([0, 1, 2]))[0].name
        'sparse_categorical_crossentropy'
    """
    leaves = keras.tree.flatten(targets)
    if len(model.outputs) != 1 or len(leaves) != 1 or leaves[0] is None:
        raise ValueError(
            f"{model.name!r} is not compiled, and with {len(model.outputs)} outputs and {len(leaves)} "
            "targets its loss can't be guessed. Compile it in build_model, or give "
            "FreezeDepthSearch(loss=...)."
        )
    target = leaves[0]
    shape = tuple(target.shape)
    classes = model.outputs[0].shape[-1]
    dtype = tf.as_dtype(target.dtype) if hasattr(target, "dtype") else tf.as_dtype(np.asarray(target).dtype)
    activation = _last_activation(model)
    counts = dtype.is_integer or dtype.is_bool
    per_class = len(shape) == len(model.outputs[0].shape) and shape[-1:] == (classes,)
    if classes is not None and classes > 1 and per_class:
        if activation == "sigmoid":
            return keras.losses.BinaryCrossentropy(), [keras.metrics.BinaryAccuracy("accuracy")]
        if activation == "softmax" or counts:
            return keras.losses.CategoricalCrossentropy(from_logits=activation != "softmax"), ["accuracy"]
    elif classes is not None and classes > 1 and counts:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=activation != "softmax")
        return loss, ["accuracy"]
    elif classes == 1 and (counts or activation == "sigmoid"):
        logits = activation != "sigmoid"
        accuracy = keras.metrics.BinaryAccuracy("accuracy", threshold=0.0 if logits else 0.5)
        return keras.losses.BinaryCrossentropy(from_logits=logits), [accuracy]
    return keras.losses.MeanSquaredError(), []


def _last_activation(model: keras.Model) -> str:
    calls = _keras.calls(model)
    layer: Any = (
        model.layers[-1]
        if calls is None
        else next(c.operation for c in calls if any(o is model.outputs[0] for o in c.outputs))
    )
    if isinstance(layer, keras.Model):
        return _last_activation(layer)
    if type(layer).__name__ in ("Softmax", "Sigmoid"):
        return type(layer).__name__.lower()
    return str(getattr(getattr(layer, "activation", None), "__name__", ""))
