"""Recurrent layers with their steps written out compute the same."""

import keras
import numpy as np
import pytest
from kerasft.export.conversion.unrolled import unrolled

layers = keras.layers


@pytest.mark.parametrize(
    "layer",
    [lambda: layers.GRU(3), lambda: layers.Bidirectional(layers.LSTM(3)), lambda: layers.SimpleRNN(3)],
)
def test_the_copy_computes_the_same_without_a_loop(layer):
    inner = keras.Sequential([keras.Input((6, 4)), layer()])
    inputs = keras.Input((6, 4))
    model = keras.Model(inputs, layers.Dense(2)(inner(inputs)))
    copy = unrolled(model)
    x = np.random.default_rng(0).normal(size=(3, 6, 4)).astype("float32")
    np.testing.assert_allclose(copy(x), model(x), atol=1e-5)
    assert '"unroll": true' in copy.to_json() and '"unroll": true' not in model.to_json()


def test_many_steps_open_ones_and_layers_of_ones_own_have_none():
    def model(steps, *more):
        return keras.Sequential([keras.Input((steps, 4)), *more, layers.LSTM(3)])

    class Own(layers.Layer):
        def __init__(self, needed, **options):
            super().__init__(**options)

        def call(self, inputs):
            return inputs

    assert unrolled(model(128)) is not None
    assert unrolled(model(129)) is None and unrolled(model(None)) is None
    assert unrolled(model(6, Own(1))) is None
    assert unrolled(keras.Sequential([keras.Input((4,)), layers.Dense(1)])) is None
