"""Derivatives of activations, against those of TensorFlow's tape."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from kerasft.export.on_device.slopes import SLOPES


@pytest.mark.parametrize("name", SLOPES)
def test_the_derivative_is_that_of_the_tape(name):
    function = getattr(keras.activations, name)
    x = tf.constant(np.random.default_rng(0).uniform(-9, 9, 2000), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    wanted = tape.gradient(y, x)
    np.testing.assert_allclose(SLOPES[name](x, y), wanted, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", SLOPES)
def test_activations_at_their_corners(name):
    """Where a function has a corner, its derivative is the one that TensorFlow takes."""
    function = getattr(keras.activations, name)
    # 3 and -3 are corners of hard_sigmoid and hard_silu, where float32 rounds to either side in Keras
    x = tf.constant([0.0, 6.0, -6.0, 1e-3, -1e-3, 0.00999, 0.0101, -0.0101, 2.999, -2.999, 12.0, -12.0])
    if name.startswith("hard"):
        x = x[3:]
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    np.testing.assert_allclose(SLOPES[name](x, y), tape.gradient(y, x), rtol=1e-5, atol=1e-6)
