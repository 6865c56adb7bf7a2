"""What an output is, measured: whatever makes it a probability, and whatever it is called."""

import keras
import numpy as np
import pytest

from kerasft.search.loss.output import measure

X = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")


def net(last, units=3, **options):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(5, name="body")(inputs)
    return keras.Model(inputs, last(keras.layers.Dense(units, name="top", **options)(hidden)))


def softmax(x):  # by hand, with another name
    return keras.ops.exp(x) / keras.ops.sum(keras.ops.exp(x), -1, keepdims=True)


def linear(x):
    return x


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (net(keras.layers.Softmax()), "distribution"),
        (net(keras.layers.Activation("softmax", dtype="float32")), "distribution"),
        (net(keras.ops.softmax), "distribution"),
        (net(softmax), "distribution"),
        (net(keras.layers.Lambda(lambda x: keras.ops.softmax(x))), "distribution"),
        (
            net(keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, activation="softmax")])),
            "distribution",
        ),
        (net(linear, dtype="mixed_float16", activation="softmax"), "distribution"),
        (net(keras.ops.sigmoid, 1), "unit"),
        (net(keras.ops.sigmoid), "unit"),
        (net(keras.layers.Lambda(lambda x: 0.5 + keras.ops.tanh(x) / 2), 1), "unit"),
        (net(linear), "open"),
        (net(linear, 1), "open"),
        (net(keras.ops.tanh, 1), "open"),
        (net(keras.ops.relu, 1), "open"),
        (net(softmax, 1), "fixed"),
    ],
)
def test_the_range_is_measured(model, kind):
    before = [w.numpy() for w in model.weights]
    found = measure(model, X)
    assert found.kind == kind and found.shape == model.output_shape[1:]
    assert all(np.array_equal(a, b) for a, b in zip(before, model.weights, strict=True))


def test_a_linear_output_that_happens_to_lie_between_0_and_1_is_open():
    model = net(linear, 1)
    model.get_layer("top").kernel.assign(np.full((5, 1), 1e-4))
    model.get_layer("top").bias.assign([0.5])
    assert 0 < model.predict(X, verbose=0).min() and model.predict(X, verbose=0).max() < 1
    assert measure(model, X).kind == "open"


def scaled(x):
    return 100 * keras.ops.sigmoid(x) - 20


@pytest.mark.parametrize(
    ("last", "low", "high"),
    [  # by the formulas: the least of SELU is -1.0507 * 1.6733, of SiLU -0.2785 at -1.278, of GELU -0.170
        ("relu", 0, np.inf),
        ("softplus", 0, np.inf),
        ("exponential", 0, np.inf),
        ("relu6", 0, 6),
        ("tanh", -1, 1),
        ("softsign", -1, 1),
        ("elu", -1, np.inf),
        ("selu", -1.7581, np.inf),
        (scaled, -20, 80),
        ("silu", -0.2785, np.inf),
        ("gelu", -0.170, np.inf),
        ("log_sigmoid", -np.inf, 0),
        ("linear", -np.inf, np.inf),
        ("leaky_relu", -np.inf, np.inf),
        ("tanh_shrink", -np.inf, np.inf),
    ],
)
def test_bounds_are_those_of_the_activation(last, low, high):
    found = measure(net(keras.layers.Activation(last), 1), X)
    for bound, true in ((found.low, low), (found.high, high)):
        assert bound == (pytest.approx(true, abs=0.08) if np.isfinite(true) else true)
    for edge in (low, high):  # what it can reach is never refused
        if np.isfinite(edge):
            assert found.reaches(edge, edge)
    assert not found.reaches(low - 1, 0) or np.isinf(low)


def test_a_linear_layer_after_a_bounded_one_has_no_bounds():
    layers = [keras.layers.Dense(8, "relu", use_bias=False), keras.layers.Dense(1, use_bias=False)]
    found = measure(keras.Sequential([keras.Input((4,)), keras.layers.Dense(5), *layers]), np.abs(X))
    assert (found.low, found.high) == (-np.inf, np.inf)


def test_weights_come_back_after_an_error():
    model = net(linear)
    before = [w.numpy() for w in model.weights]
    with pytest.raises(Exception, match="."):
        measure(model, np.zeros((2, 7), "float32"))
    assert all(np.array_equal(a, b) for a, b in zip(before, model.weights, strict=True))
