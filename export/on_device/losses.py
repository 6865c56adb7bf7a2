"""The loss that a step on the device takes the gradient of, found in the model, or given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from .steps import Step

SOFTMAX, SIGMOID, SQUARES = "categorical_crossentropy", "binary_crossentropy", "mean_squared_error"
LOSSES = (SOFTMAX, SIGMOID, SQUARES)
_GIVES = {"softmax": SOFTMAX, "sigmoid": SIGMOID}
_NAMES = {
    **{name: name for name in LOSSES},
    "sparse_categorical_crossentropy": SOFTMAX,
    "mse": SQUARES,
    "MSE": SQUARES,
}
_CLASSES: dict[type, str] = {
    keras.losses.CategoricalCrossentropy: SOFTMAX,
    keras.losses.SparseCategoricalCrossentropy: SOFTMAX,
    keras.losses.BinaryCrossentropy: SIGMOID,
    keras.losses.MeanSquaredError: SQUARES,
}


@dataclass(frozen=True)
class Loss:
    """The mean loss of a batch.

    Attributes:
        name: One of LOSSES.
        on_logits: Whether the part's last step is an activation that the loss computes by itself.
        smoothing: Keras's label_smoothing.
    """

    name: str
    on_logits: bool
    smoothing: float = 0.0

    def __call__(self, outputs: Any, targets: Any) -> tuple[Any, Any]:
        """The mean loss, and its derivative by the outputs: logits, or for squares the values."""
        classes = outputs.shape[-1]
        if self.smoothing:
            even = 0.5 if self.name == SIGMOID else 1 / classes
            targets = targets * (1 - self.smoothing) + even * self.smoothing
        values = tf.cast(tf.size(outputs), tf.float32)
        if self.name == SOFTMAX:
            shifted = outputs - tf.reduce_max(outputs, -1, keepdims=True)
            powers = tf.exp(shifted)
            total = tf.reduce_sum(powers, -1, keepdims=True)
            rows = values / classes
            # not by exp of the logarithm, whose rounding grows with it
            slope = (powers / total - targets) / rows
            return -tf.reduce_sum(targets * (shifted - tf.math.log(total))) / rows, slope
        if self.name == SIGMOID:
            each = tf.maximum(outputs, 0.0) - outputs * targets + tf.math.log(1 + tf.exp(-tf.abs(outputs)))
            return tf.reduce_sum(each) / values, (tf.sigmoid(outputs) - targets) / values
        difference = outputs - targets
        return tf.reduce_sum(difference * difference) / values, 2 * difference / values

    def keras_loss(self) -> keras.losses.Loss:
        """Keras's own; it finds the logits of a softmax or sigmoid by itself."""
        if self.name == SQUARES:
            return keras.losses.MeanSquaredError()
        kind = (
            keras.losses.CategoricalCrossentropy if self.name == SOFTMAX else keras.losses.BinaryCrossentropy
        )
        return kind(from_logits=not self.on_logits, label_smoothing=self.smoothing)


def loss_of(model: keras.Model, steps: list[Step], given: Any = None) -> Loss:
    """The loss that is given, or that the model was compiled with, or that its last activation means.

    Args:
        model: The user's model.
        steps: The steps of the part.
        given: One of LOSSES, a loss of Keras, or None.

    Raises:
        ValueError: It is another one, or what the outputs are is open.
    """
    last = steps[-1].activation if steps else ""
    if isinstance(given, str) and given in _NAMES:  # on logits or not, as the last activation says
        return _checked(Loss(_NAMES[given], last in _GIVES), last)
    found = given if given is not None else getattr(model, "loss", None)
    if isinstance(found, dict | list | tuple) and len(found) == 1:
        (found,) = found.values() if isinstance(found, dict) else found
    if found is None:
        if last in _GIVES:
            return Loss(_GIVES[last], True)
        raise ValueError(
            f"{model.name!r} is not compiled and ends in {last or 'no activation'}: its outputs may be "
            f"logits of classes or of labels, or values. Say which by loss=, one of {list(LOSSES)}."
        )
    name, config = _read(found)
    if not name:
        raise ValueError(
            f"The loss {found if isinstance(found, str) else _label(found)!r} is not among "
            f"those that train on the device. Give one by loss=: {list(LOSSES)}."
        )
    if config.get("reduction", "sum_over_batch_size") not in ("sum_over_batch_size", "mean"):
        raise ValueError(
            f"A step takes the mean loss of a batch; the loss has reduction={config['reduction']!r}. Give "
            f"one by loss=: {list(LOSSES)}."
        )
    if config.get("ignore_class") is not None:
        raise ValueError(
            f"Targets are rows of all classes; the loss has ignore_class={config['ignore_class']}."
        )
    if config.get("axis", -1) != -1:
        raise ValueError(f"The classes are on the last axis; the loss has axis={config['axis']}.")
    if name != SQUARES:
        from_logits = bool(config.get("from_logits", False))
        probabilities = _GIVES.get(last) == name
        if from_logits == probabilities:
            raise ValueError(
                f"The loss {name} takes {'logits' if from_logits else 'probabilities'}, and the last "
                f"activation is {last or 'none'}: two readings are possible. Give loss={name!r}, which takes "
                "what the last activation makes, or correct from_logits."
            )
    smoothing = float(config.get("label_smoothing", 0.0) or 0.0) if name != SQUARES else 0.0
    return _checked(Loss(name, last in _GIVES, smoothing), last)


def _checked(loss: Loss, last: str) -> Loss:
    if loss.name == SQUARES:
        return Loss(SQUARES, False)
    if loss.on_logits and _GIVES[last] != loss.name:
        raise ValueError(
            f"The loss {loss.name} does not go with {last}, the last activation. Losses that do: "
            f"{[_GIVES[last], SQUARES]}."
        )
    return loss


def _label(found: Any) -> str:
    return getattr(found, "name", None) or getattr(found, "__name__", None) or type(found).__name__


def _read(found: Any) -> tuple[str, dict[str, Any]]:
    """The name of a loss among LOSSES, or "", and its configuration."""
    if type(found) in _CLASSES:
        return _CLASSES[type(found)], found.get_config()
    name = found if isinstance(found, str) else getattr(found, "__name__", "")
    if not isinstance(found, str) and getattr(keras.losses, name, None) is not found:
        return "", {}
    if name in _NAMES:
        return _NAMES[name], {}
    try:
        kind = type(keras.losses.get(name))
    except ValueError:
        return "", {}
    return _CLASSES.get(kind, ""), {}
