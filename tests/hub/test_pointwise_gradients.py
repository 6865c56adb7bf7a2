"""The gradients of 1×1 convolutions equal those of TensorFlow's kernels, and never leave the process."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from kerasft.export import to_saved_model

import kerasft
from kerasft.hub.graph_function import GraphFunction
from kerasft.hub.pointwise_gradients import GRADIENT, with_fast_gradients


def graph_of(kernel, filters, **options):
    """A graph of one convolution of two tensors."""
    specs = [tf.TensorSpec((None, 5, 6, 3), tf.float32), tf.TensorSpec((*kernel, 3, filters), tf.float32)]
    concrete = tf.function(lambda x, w: tf.nn.conv2d(x, w, **options)).get_concrete_function(*specs)
    graph = concrete.graph.as_graph_def()
    inputs = tuple(t.name for t in concrete.inputs)
    return GraphFunction(graph.SerializeToString(), inputs, (concrete.outputs[0].name,)), specs


def marked(function):
    graph = with_fast_gradients(tf.compat.v1.GraphDef.FromString(function.graph))
    return [n.attr["_gradient_op_type"].s.decode() for n in graph.node if n.op == "Conv2D"]


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (1, 3)])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_gradients_are_those_of_the_kernels(kernel, padding):
    function, specs = graph_of(kernel, 4, strides=1, padding=padding)
    assert marked(function) == [GRADIENT]
    rng = np.random.default_rng(0)
    x, w = (tf.constant(rng.normal(size=(2, *s.shape[1:]) if i == 0 else s.shape), tf.float32)
            for i, s in enumerate(specs))  # fmt: skip

    def gradients(convolve):
        with tf.GradientTape() as tape:
            tape.watch([x, w])
            value = tf.reduce_sum(tf.sin(convolve(x, w)))
        return tape.gradient(value, [x, w])

    expected = gradients(lambda x, w: tf.nn.conv2d(x, w, 1, padding))
    found = gradients(lambda x, w: function.concrete(specs, for_gradients=True)(x, w)[0])
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"strides": 2, "padding": "SAME"},
        {"strides": 1, "padding": "SAME", "dilations": 2},
        {"strides": 1, "padding": [[0, 0], [1, 1], [0, 0], [0, 0]]},
    ],
)
def test_other_convolutions_keep_theirs(options):
    function, _ = graph_of((1, 1), 4, **options)
    assert marked(function) == [""]


@pytest.fixture
def staged(tmp_path):
    """A Hub model of two stages with 1×1 convolutions."""
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(8, 1, activation="relu", name="block_0_conv")(inputs)
    x = keras.layers.Conv2D(4, 1, activation="relu", name="block_1_conv")(x)
    to_saved_model(keras.Model(inputs, x), tmp_path / "plain", reusable=True)
    return kerasft.hub.load_backbone(tmp_path / "plain")


def test_a_training_step_asks_for_them_and_nothing_that_is_saved_has_them(staged, tmp_path, monkeypatch):
    asked = []
    concrete = GraphFunction.concrete

    def spy(self, specs, for_gradients=False):
        asked.append(for_gradients)
        return concrete(self, specs, for_gradients)

    monkeypatch.setattr(GraphFunction, "concrete", spy)
    x = keras.layers.GlobalAveragePooling2D()(staged.outputs[0])
    model = keras.Model(staged.inputs[0], keras.layers.Dense(2)(x))
    model.compile("sgd", "mse")
    model.predict(np.ones((2, 6, 6, 3)), verbose=0)
    assert not any(asked)
    asked.clear()
    model.fit(np.ones((2, 6, 6, 3)), np.ones((2, 2)), verbose=0)
    assert asked == [True] * (len(staged.layers) - 1)  # one of each stage, the input left out
    to_saved_model(model, tmp_path / "saved", reusable=True)
    assert GRADIENT.encode() not in (tmp_path / "saved" / "saved_model.pb").read_bytes()
    loaded = tf.saved_model.load(tmp_path / "saved")
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(loaded(tf.ones((1, 6, 6, 3)), training=True))
    assert all(g is not None for g in tape.gradient(value, loaded.trainable_variables))
