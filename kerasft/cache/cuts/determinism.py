"""Whether a layer gives the same for a sample each time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import keras

from kerasft import _keras
from kerasft.stages import StageLayer


def why_nondeterministic(layer: Any, trained: Collection[int]) -> str | None:
    """Why what a layer gives may differ when a sample comes again; None if nothing is known against it."""
    if not isinstance(layer, keras.Layer):
        return None
    if any(id(v) in trained for v in layer.weights):
        return "trains"
    for part in _keras.sublayers(layer):
        if isinstance(part, keras.layers.BatchNormalization) and part.trainable and part.weights:
            return "normalizes by the batch and updates its statistics"
        if isinstance(part, StageLayer) and part.updates_itself:
            return "normalizes by the batch and updates its statistics"
        if getattr(part, "activity_regularizer", None) is not None:
            return "has an activity regularizer"
    return "draws random numbers while the model trains" if draws_numbers(layer) else None


def _depends_on_training(layer: keras.Layer) -> bool:
    """Whether a layer of a prefix may give something else while the model trains."""
    return any(
        _keras.takes_training(part)
        and not (isinstance(part, keras.layers.BatchNormalization) and not part.trainable)
        and not (isinstance(part, StageLayer) and not part.trainable and part.dropout != "train")
        and _keras.training_mode(part) != "inference"
        for part in _keras.sublayers(layer)
    )


def draws_numbers(layer: keras.Layer) -> bool:
    """Whether a layer with a random generator uses it; recurrent layers have one in any case."""
    owners = [part for part in _callers(layer) if _keras.random_variables(part)]
    rates = ("rate", "dropout", "recurrent_dropout")
    said = [[getattr(part, r) for r in rates if hasattr(part, r)] for part in owners]
    return any(not found or any(found) for found in said)


def _callers(layer: keras.Layer) -> Iterator[keras.Layer]:
    """A layer and those inside it, without those that a policy has compute as in inference."""
    for part in _keras.sublayers(layer):
        if _keras.training_mode(part) != "inference":
            yield part
