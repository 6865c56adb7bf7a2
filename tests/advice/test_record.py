"""What is recorded, against plain Keras models and numpy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasft.advice import record as module
from kerasft.advice.record import record
from kerasft.stages import find_stages

ALL = {"samples": 1000, "memory": 2**28, "seed": 0}


def test_features_are_means_of_what_stages_give(image_model, image_data):
    x, y = image_data
    found = record(find_stages(image_model), tf.data.Dataset.from_tensor_slices((x, y)).batch(10), **ALL)
    backbone = image_model.get_layer("backbone")
    relus = [layer.output for layer in backbone.layers if isinstance(layer, keras.layers.ReLU)]
    whole = keras.Model(backbone.input, relus)(x / 255, training=False)
    assert found.depths == [1, 2, 3] and found.seen == 24 and found.notes == []
    for own, expected in zip(found.features, whole):
        np.testing.assert_allclose(own, expected.numpy().mean((1, 2)), rtol=1e-4, atol=1e-5)
    scores = image_model(x, training=False).numpy()
    np.testing.assert_allclose(found.scores, scores, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.outputs, scores, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.targets, y)
    assert found.size == 24 * (4 + 4 + 4) * 4 and found.weights.tolist() == [1.0] * 24


def test_arrays_lists_and_datasets_give_the_same(dense_model):
    x = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
    y, weights = np.arange(40) % 3, np.arange(40) / 40
    stages = find_stages(dense_model)
    first = record(stages, (x, y, weights), **ALL)
    slices = tf.data.Dataset.from_tensor_slices((x, y, weights)).batch(7)
    for data in (slices, [(x[:15], y[:15], weights[:15]), (x[15:], y[15:], weights[15:])]):
        other = record(stages, data, **ALL)
        for name in ("targets", "weights"):
            np.testing.assert_array_equal(getattr(first, name), getattr(other, name))
        for a, b in zip(first.features, other.features):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_masked_steps_do_not_count():
    layers = [keras.layers.Embedding(9, 4, mask_zero=True, name="a"), keras.layers.LSTM(3, name="b")]
    net = keras.Sequential([keras.Input((5,), dtype="int32"), *layers, keras.layers.Dense(2, name="c")])
    x = np.array([[1, 2, 3, 0, 0], [4, 5, 0, 0, 0], [6, 7, 8, 1, 2]], "int32")
    found = record(find_stages(net), (x, np.array([0, 1, 0])), **ALL)
    table = net.layers[0].get_weights()[0]
    expected = [table[row[row > 0]].mean(0) for row in x]
    np.testing.assert_allclose(found.features[0], expected, rtol=1e-5)
    np.testing.assert_allclose(found.features[1], keras.Sequential(net.layers[:2])(x).numpy(), rtol=1e-4)


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.a = keras.layers.Conv2D(3, 3, name="a")
        self.b = keras.layers.Dense(5, name="b")
        self.c = keras.layers.Dense(2, name="c")

    def call(self, x):
        return self.c(self.b(keras.ops.mean(self.a(x), (1, 2))))


def test_a_subclassed_model_with_its_stages():
    net, x = Own(), np.random.default_rng(0).normal(size=(6, 8, 8, 1)).astype("float32")
    net(x)
    found = record(find_stages(net, at=["a", "b", "c"]), (x, np.arange(6) % 2), **ALL)
    pooled = net.a(x).numpy().mean((1, 2))
    np.testing.assert_allclose(found.features[0], pooled, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.features[1], net.b(pooled).numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.outputs, net(x).numpy(), rtol=1e-4, atol=1e-6)


def numbered(count):
    """A model whose first stage gives the number of a sample, and data of so many."""
    net = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, use_bias=False, name="a")])
    net.add(keras.layers.Dense(2, name="b"))
    net.layers[0].set_weights([np.ones((1, 2))])
    numbers = np.arange(count)
    data = tf.data.Dataset.from_tensor_slices((numbers[:, None].astype("float32"), numbers)).batch(16)
    return find_stages(net), data


def test_a_random_sample_is_drawn_where_there_are_too_many():
    stages, data = numbered(500)
    counts = np.zeros(500)
    for seed in range(40):
        found = record(stages, data, 50, 2**20, seed)
        assert len(set(found.targets.tolist())) == 50 and found.seen == 500
        np.testing.assert_array_equal(found.features[0][:, 0], found.targets)  # rows stay together
        counts[found.targets] += 1
    assert found.notes == ["50 of 500 samples were drawn at random."]
    halves = counts[:250].sum(), counts[250:].sum()  # 2,000 draws: 1,000 ± 21 of each
    assert abs(halves[0] - halves[1]) < 6 * 42 / 2 and counts[450:].sum() == pytest.approx(200, abs=6 * 13)


def test_memory_bounds_the_sample():
    stages, data = numbered(500)
    found = record(stages, data, 1000, 8 * 30, 0)  # two features of four bytes each
    assert len(found.targets) == 30 and found.size == 240
    assert found.notes == ["30 of 500 samples, as many as fit into `memory`, were drawn at random."]
    with pytest.raises(ValueError, match="hold no two samples of 8 bytes"):
        record(stages, data, 1000, 15, 0)


def test_wide_features_are_projected_and_keep_their_products(monkeypatch):
    monkeypatch.setattr(module, "MOST_FEATURES", 400)
    net = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3000, name="a"), keras.layers.Dense(2)])
    x = np.random.default_rng(0).normal(size=(20, 8)).astype("float32")
    found = record(find_stages(net), (x, np.arange(20) % 2), **ALL)
    whole = net.layers[0](x).numpy()
    assert found.features[0].shape == (20, 400)
    assert found.notes == ["3,000 features of the stage 'a' were projected at random to 400."]
    expected, kept = whole @ whole.T, found.features[0] @ found.features[0].T
    far = np.abs(kept - expected) / np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert far.max() < 5 / np.sqrt(400) and np.isfinite(kept).all()


def two_outputs():
    x = keras.Input((4,))
    body = keras.layers.Dense(3, name="body")(x)
    return keras.Model(x, [keras.layers.Dense(2, name="p")(body), keras.layers.Dense(2, name="q")(body)])


X, Y = np.zeros((8, 4), "float32"), np.arange(8) % 2


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        ([], ValueError, "The data are empty"),
        (tf.data.Dataset.from_tensor_slices((X, Y)).batch(4).repeat(), ValueError, "The data have no end"),
        (iter([(X, Y)]), TypeError, "Nothing tells that an iterator ends"),
        ((X, Y[:3]), ValueError, r"x and y have \[3, 8\] samples"),
        ([(X,)], ValueError, "0 targets"),
        ((np.where(np.eye(8, 4) > 0, np.inf, X), Y), ValueError, "x is not finite for 4 of 8 samples"),
    ],
)  # fmt: skip
def test_data_that_do_not_do_are_named(dense_model, data, error, words):
    with pytest.raises(error, match=words):
        record(find_stages(dense_model), data, **ALL)


def test_weights_that_are_not_finite_are_named(dense_model):
    kernel, bias = dense_model.layers[1].get_weights()
    dense_model.layers[0].set_weights([np.full((4, 6), 1e30), np.full(6, 1e30)])
    dense_model.layers[1].set_weights([np.full_like(kernel, 1e30), bias])
    with pytest.raises(ValueError, match="What the stage 'second' gives is not finite for 8 of 8"):
        record(find_stages(dense_model), (X, Y), **ALL)


def test_models_that_do_not_do_are_named():
    with pytest.raises(ValueError, match="has 2 outputs, and the data have 2 targets"):
        record(find_stages(two_outputs()), [(X, [Y, Y])], **ALL)
    net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="only")])
    with pytest.raises(ValueError, match="has one stage alone, 'only'"):
        record(find_stages(net), (X, Y), **ALL)
