"""Steps of a suffix are those of the whole model, one by one and many in a call."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasft import _keras
from kerasft.cache.cuts.find import find_cut
from kerasft.cache.cuts.suffix import Suffix

SPEC = (tf.TensorSpec((None, 4)), tf.TensorSpec((None,), tf.int64), None)


def build():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(6, "tanh", trainable=False), keras.layers.Dense(3)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.1), loss, metrics=["accuracy"])
    return model


def columns_of(model, rows):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(rows, 4)).astype("float32"), rng.integers(0, 3, rows)
    return x, y, [model.layers[0](x).numpy(), y]


@pytest.mark.parametrize("training", [True, False])
def test_steps_are_those_of_the_whole_model(training):
    model, plain = build(), build()
    x, y, columns = columns_of(model, 10)
    suffix = Suffix(model, find_cut(_keras.program(model)), SPEC, (False,), (), columns, training)
    step = plain.train_on_batch if training else plain.test_on_batch
    sizes, begin = [4, 4, 2], 0
    logs = suffix.steps(columns, sizes)
    total = seen = 0.0
    for size, log in zip(sizes, logs, strict=True):
        plain.reset_metrics()  # Keras 3.12 returns a running mean here as well
        loss = step(x[begin : begin + size], y[begin : begin + size], return_dict=True)["loss"]
        total, seen, begin = total + loss * size, seen + size, begin + size
        assert float(log["loss"]) == pytest.approx(total / seen, abs=1e-6)  # Keras's loss is a running mean
    for a, b in zip(model.weights, plain.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert model.optimizer.iterations == (3 if training else 0)


def test_many_steps_are_as_many_single_ones():
    results = []
    for together in (True, False):
        model = build()
        _, _, columns = columns_of(model, 8)
        suffix = Suffix(model, find_cut(_keras.program(model)), SPEC, (False,), (), columns, True)
        if together:
            logs = suffix.steps(columns, [3, 3, 2])
        else:
            bounds = [(0, 3), (3, 6), (6, 8)]
            logs = [suffix.step([c[a:b] for c in columns]) for a, b in bounds]
        results.append(([float(log["accuracy"]) for log in logs], model.get_weights()))
    assert results[0][0] == results[1][0]
    for a, b in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_halved_values_are_widened():
    model = build()
    _, _, columns = columns_of(model, 4)
    halved = [columns[0].astype("float16"), columns[1]]
    suffix = Suffix(model, find_cut(_keras.program(model)), SPEC, (False,), (), halved, False)
    exact = Suffix(build(), find_cut(_keras.program(build())), SPEC, (False,), (), columns, False)
    assert float(suffix.step(halved)["loss"]) == pytest.approx(float(exact.step(columns)["loss"]), abs=1e-3)


def test_a_batch_size_that_is_fixed_stays_fixed():
    model = build()
    _, _, columns = columns_of(model, 8)
    spec = (tf.TensorSpec((4, 4)), tf.TensorSpec((4,), tf.int64), None)
    shapes = []

    class Seen(keras.layers.Layer):
        def call(self, x):
            shapes.append(tuple(x.shape))
            return x

    inputs = keras.Input((4,))
    x = keras.layers.Dense(6, trainable=False)(inputs)
    model = keras.Model(inputs, Seen()(keras.layers.Dense(3)(x)))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    shapes.clear()
    suffix = Suffix(model, find_cut(_keras.program(model)), spec, (False,), (), columns, True)
    assert len(suffix.steps(columns, [4, 4])) == 2
    assert shapes == [(4, 3)]
