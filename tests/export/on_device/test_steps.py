"""Derivatives that are written out, against those of TensorFlow's tape."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from kerasft.export.on_device.slopes import SLOPES
from kerasft.export.on_device.steps import problem, steps_of

ROWS, SEQUENCE, PICTURE = (5, 7), (5, 4, 7), (5, 3, 2, 7)
CASES = {
    "Dense": (layers.Dense(4), ROWS),
    "Dense without bias": (layers.Dense(4, use_bias=False), ROWS),
    "Dense along a sequence": (layers.Dense(4), SEQUENCE),
    "Dense along a picture, with an activation": (layers.Dense(4, activation="tanh"), PICTURE),
    "softmax": (layers.Softmax(), ROWS),
    "softmax by name": (layers.Activation("softmax"), SEQUENCE),
    "ReLU": (layers.ReLU(), ROWS),
    "ReLU6": (layers.ReLU(1.5), ROWS),
    "ReLU with a slope": (layers.ReLU(1.5, negative_slope=0.3), ROWS),
    "LeakyReLU": (layers.LeakyReLU(0.3), ROWS),
    "ELU": (layers.ELU(0.7), ROWS),
    "LayerNormalization": (layers.LayerNormalization(epsilon=1e-2), SEQUENCE),
    "LayerNormalization, bare": (layers.LayerNormalization(center=False, scale=False), ROWS),
    "LayerNormalization, scaled": (layers.LayerNormalization(center=False), ROWS),
    "BatchNormalization": (layers.BatchNormalization(epsilon=1e-2), PICTURE),
    "BatchNormalization, bare": (layers.BatchNormalization(center=False, scale=False), ROWS),
    "GlobalAveragePooling1D": (layers.GlobalAveragePooling1D(), SEQUENCE),
    "GlobalAveragePooling2D": (layers.GlobalAveragePooling2D(), PICTURE),
    "GlobalAveragePooling2D, kept": (layers.GlobalAveragePooling2D(keepdims=True), PICTURE),
    "Flatten": (layers.Flatten(), PICTURE),
    "Rescaling": (layers.Rescaling(0.5, offset=1.0), PICTURE),
    "Rescaling by channels": (layers.Rescaling(list(range(1, 8)), offset=[0.5] * 7), ROWS),
    "Identity": (layers.Identity(), ROWS),
    "Dropout": (layers.Dropout(0.5), ROWS),
    "SpatialDropout1D": (layers.SpatialDropout1D(0.5), SEQUENCE),
    "GaussianNoise": (layers.GaussianNoise(0.5), ROWS),
    **{name: (layers.Activation(name), ROWS) for name in ("linear", *SLOPES)},
}


@pytest.mark.parametrize("name", CASES)
def test_the_derivative_is_that_of_the_tape(name):
    kind, shape = CASES[name]
    layer = type(kind).from_config(kind.get_config())
    rng = np.random.default_rng(0)
    inputs = keras.Input(shape[1:])
    keras.Model(inputs, layer(inputs))
    for v in layer.weights:
        low = 0.5 if "variance" in v.name else -1
        v.assign(rng.uniform(low, 1.5, v.shape))
    x = tf.constant(rng.normal(scale=3, size=shape), tf.float32)
    assert problem(layer) == ""
    with tf.GradientTape() as tape:
        tape.watch(x)
        wanted = layer(x, training=False)
        given = tf.constant(rng.normal(size=wanted.shape), tf.float32)
        total = tf.reduce_sum(wanted * given)
    trained = layer.trainable_variables
    of_x, *of_weights = tape.gradient(total, [x, *(v.value for v in trained)])

    values = {f"own_{v.name}": tf.convert_to_tensor(v) for v in layer.weights}
    y, backs = x, []
    for step in steps_of(layer, {v.name: f"own_{v.name}" for v in layer.weights}):
        y, back = step.run(y, values)
        backs.append(back)
    np.testing.assert_allclose(y, wanted, atol=2e-6)
    found, dy = {}, given
    for back in reversed(backs):
        dy, more = back(dy)
        found |= more
    np.testing.assert_allclose(dy, of_x, atol=2e-5)
    assert found.keys() >= {f"own_{v.name}" for v in trained}
    for v, expected in zip(trained, of_weights):
        np.testing.assert_allclose(found[f"own_{v.name}"], expected, rtol=1e-5, atol=2e-5)


def built(layer, shape=(4, 6)):
    inputs = keras.Input(shape)
    keras.Model(inputs, layer(inputs))
    return layer


class OwnDense(layers.Dense):
    """Computes something else, for all that is known."""


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (layers.Conv1D(2, 1), "derivative is not known"),
        (OwnDense(2), "derivative is not known"),
        (layers.Dense(2, activation="mish"), "'mish' has no derivative here; .*'gelu'"),
        (layers.Dense(2, activation=lambda x: x * x), "'<lambda>' has no derivative"),
        (layers.Activation(keras.activations.glu), "'glu' has no derivative"),
        (layers.Dense(2, kernel_constraint="non_neg"), "kernel_constraint"),
        (layers.Dense(2, bias_regularizer="orthogonal_regularizer"), "bias_regularizer of Orthogonal"),
        (layers.Dense(2, activity_regularizer="l2"), "activity_regularizer of L2"),
        (layers.LayerNormalization(axis=1), "another axis"),
        (layers.LayerNormalization(axis=[1, 2]), "another axis"),
        (layers.BatchNormalization(axis=1), "another axis"),
        (layers.Softmax(axis=1), "another axis"),
        (layers.ReLU(threshold=1.0), "threshold"),
        (layers.GlobalAveragePooling1D(data_format="channels_first"), "channels first"),
    ],
)
def test_layers_that_cannot_train_say_why(layer, why):
    assert re.search(why, problem(built(layer)))


def test_a_dense_with_lora_is_refused():
    layer = built(layers.Dense(3))
    layer.enable_lora(2)
    assert "LoRA" in problem(layer)
