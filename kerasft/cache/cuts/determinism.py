"""Whether a layer gives the same for a sample each time."""

from __future__ import annotations

from collections.abc import Collection

import keras

from kerasft import _keras
from kerasft.stages import StageLayer


def why_nondeterministic(
    program: _keras.Program, operation: _keras.Operation, trained: Collection[int]
) -> str | None:
    """Why what a call gives may differ when a sample comes again; None if nothing is known against it.

    Args:
        program: The model.
        operation: One of its calls.
        trained: Ids of the weights that train.
    """
    if any(id(v) in trained for v in operation.weights):
        return "trains"
    layer = operation.layer
    if not isinstance(layer, keras.Layer):
        return None
    for part in _keras.sublayers(layer) if operation.part_of is not layer else ():
        if isinstance(part, keras.layers.BatchNormalization) and part.trainable and part.weights:
            return "normalizes by the batch and updates its statistics"
        if isinstance(part, StageLayer) and part.updates_itself:
            return "normalizes by the batch and updates its statistics"
        if getattr(part, "activity_regularizer", None) is not None:
            return "has an activity regularizer"
    draws = _keras.traced_call(program, operation).draws
    return "draws random numbers while the model trains" if draws else None


def _depends_on_training(layer: keras.Layer) -> bool:
    """Whether a layer of a prefix may give something else while the model trains."""
    return any(
        _keras.takes_training(part)
        and not (isinstance(part, keras.layers.BatchNormalization) and not part.trainable)
        and not (isinstance(part, StageLayer) and not part.trainable and part.dropout != "train")
        and _keras.training_mode(part) != "inference"
        for part in _keras.sublayers(layer)
    )
