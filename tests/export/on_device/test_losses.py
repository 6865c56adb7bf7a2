"""The loss of a step: found by evidence, and equal to Keras's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from kerasft.export.on_device.losses import LOSSES, SIGMOID, SOFTMAX, SQUARES, Loss, loss_of
from kerasft.export.on_device.part import part_of
from kerasft.export.on_device.program import steps_in


def head(activation=None, loss=None):
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(6), keras.layers.Dense(3, activation=activation, name="top")]
    )
    if loss is not None:
        model.compile("sgd", loss)
    return model


def found(activation=None, compiled=None, given=None):
    model = head(activation, compiled)
    return loss_of(model, steps_in(part_of(model)), given)


K = keras.losses


@pytest.mark.parametrize(
    ("activation", "compiled", "given", "name", "on_logits"),
    [
        ("softmax", None, None, SOFTMAX, True),
        ("sigmoid", None, None, SIGMOID, True),
        ("softmax", "categorical_crossentropy", None, SOFTMAX, True),
        ("softmax", "sparse_categorical_crossentropy", None, SOFTMAX, True),
        ("softmax", K.categorical_crossentropy, None, SOFTMAX, True),
        (None, K.SparseCategoricalCrossentropy(from_logits=True), None, SOFTMAX, False),
        (None, [K.CategoricalCrossentropy(from_logits=True)], None, SOFTMAX, False),
        ("sigmoid", "binary_crossentropy", None, SIGMOID, True),
        (None, K.BinaryCrossentropy(from_logits=True), None, SIGMOID, False),
        (None, "mse", None, SQUARES, False),
        ("sigmoid", "mean_squared_error", None, SQUARES, False),
        ("softmax", K.MeanSquaredError(), None, SQUARES, False),
        (None, None, "categorical_crossentropy", SOFTMAX, False),
        (None, "categorical_crossentropy", "categorical_crossentropy", SOFTMAX, False),
        ("sigmoid", None, "mse", SQUARES, False),
        ("softmax", "mse", K.CategoricalCrossentropy(), SOFTMAX, True),
    ],
)
def test_the_loss_is_found(activation, compiled, given, name, on_logits):
    assert found(activation, compiled, given) == Loss(name, on_logits)


def test_label_smoothing_is_taken_over():
    assert found("softmax", K.CategoricalCrossentropy(label_smoothing=0.1)).smoothing == 0.1


@pytest.mark.parametrize(
    ("activation", "compiled", "given", "why"),
    [
        (None, None, None, "not compiled and ends in no activation.*loss="),
        ("relu", None, None, "ends in relu"),
        (None, "categorical_crossentropy", None, "takes probabilities, and .* is none: two readings"),
        (None, "binary_crossentropy", None, "takes probabilities, .*loss='binary_crossentropy'"),
        ("softmax", K.CategoricalCrossentropy(from_logits=True), None, "takes logits, .* is softmax: two"),
        ("softmax", "binary_crossentropy", None, "takes probabilities, and the last activation is softmax"),
        ("softmax", None, "binary_crossentropy", "does not go with softmax.*categorical"),
        ("sigmoid", None, "categorical_crossentropy", "does not go with sigmoid"),
        ("softmax", K.CategoricalFocalCrossentropy(), None, "'categorical_focal_crossentropy' is not among"),
        ("softmax", "kl_divergence", None, "'kl_divergence' is not among.*loss=.*mean_squared_error"),
        ("softmax", lambda t, y: t - y, None, "'<lambda>' is not among"),
        ("softmax", None, "hinge", "'hinge' is not among"),
        ("softmax", None, "nothing", "'nothing' is not among"),
        ("softmax", K.CategoricalCrossentropy(reduction="sum"), None, "reduction='sum'"),
        ("softmax", K.CategoricalCrossentropy(axis=1), None, "axis=1"),
        ("softmax", K.SparseCategoricalCrossentropy(ignore_class=0), None, "ignore_class=0"),
    ],
)  # fmt: skip
def test_what_is_open_or_unknown_is_refused(activation, compiled, given, why):
    with pytest.raises(ValueError, match=why):
        found(activation, compiled, given)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("shape", [(6, 5), (6, 1), (3, 4, 5)])
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_derivative_are_those_of_keras(name, shape, smoothing):
    if name == SOFTMAX and shape[-1] == 1:
        return  # Keras warns of a softmax of one class
    rng = np.random.default_rng(0)
    outputs = tf.constant(rng.normal(scale=4, size=shape), tf.float32)
    targets = rng.uniform(size=shape)
    targets = (targets / targets.sum(-1, keepdims=True) if name == SOFTMAX else targets).astype("float32")
    loss = Loss(name, False, smoothing if name != SQUARES else 0.0)
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        wanted = loss.keras_loss()(targets, outputs)
    value, slope = loss(outputs, targets)
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    np.testing.assert_allclose(slope, tape.gradient(wanted, outputs), rtol=1e-5, atol=1e-7)


def test_large_logits_stay_finite():
    outputs = tf.constant([[1e4, -1e4, 0.0]])
    for name in (SOFTMAX, SIGMOID):
        value, slope = Loss(name, False)(outputs, tf.constant([[0.0, 1.0, 0.0]]))
        assert np.isfinite(value) and np.all(np.isfinite(slope))
