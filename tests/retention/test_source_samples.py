"""Batches of target and source samples, each with its own labels and weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasft


def target(count=10, batch=4):
    x = np.arange(count, dtype="float32")[:, None]
    return tf.data.Dataset.from_tensor_slices((x, np.arange(count) % 3)).batch(batch)


SOURCE = (np.array([[100.0], [101.0], [102.0]]), np.array([7, 8, 9]))


@pytest.mark.parametrize("kind", ["arrays", "dataset"])
def test_each_batch_has_both(kind):
    source = SOURCE if kind == "arrays" else tf.data.Dataset.from_tensor_slices(SOURCE).batch(2)
    mixed = list(kerasft.replay(target(), source, share=1 / 3))  # 4 and 2 more
    assert [len(x) for x, _, _ in mixed] == [6, 6, 4] and len(kerasft.replay(target(), SOURCE)) == 3
    seen = []
    for x, (y, old_y), (weight, old_weight) in mixed:
        x, new = x.numpy()[:, 0], weight.numpy() == 1
        assert x.dtype == "float32"
        np.testing.assert_array_equal(new, x < 100)
        np.testing.assert_array_equal(old_weight.numpy(), 1.0 - new)
        np.testing.assert_array_equal(y.numpy()[new], x[new] % 3)
        np.testing.assert_array_equal(old_y.numpy()[~new], x[~new] - 93)
        seen += [*x[~new]]
    assert sorted(seen) == [100, 100, 101, 101, 102, 102]  # each as often as the others


def test_the_loss_is_that_of_each_head_on_its_own_samples():
    """Sums over a head's own samples, divided by the size of the batch, as Keras does."""
    inputs = keras.Input((1,))
    heads = [
        keras.layers.Dense(units, kernel_initializer="ones", bias_initializer=bias, name=name)(inputs)
        for units, bias, name in ((3, keras.initializers.RandomNormal(seed=0), "new"), (10, "zeros", "old"))
    ]
    net = keras.Model(inputs, heads)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    net.compile("sgd", [loss, loss])
    x, labels, weights = next(iter(kerasft.replay(target(), SOURCE, share=0.5)))
    logs = net.evaluate(x, labels, sample_weight=weights, batch_size=8, return_dict=True, verbose=0)
    expected = 0.0
    for scores, y, weight in zip(net.predict_on_batch(x), labels, weights, strict=True):
        log = scores - np.log(np.exp(scores - scores.max(1, keepdims=True)).sum(1, keepdims=True))
        log = log - scores.max(1, keepdims=True)
        expected += -np.sum(weight.numpy() * log[np.arange(8), y.numpy()]) / 8
    assert logs["loss"] == pytest.approx(expected, rel=1e-4)


def test_what_is_wrong_is_named():
    with pytest.raises(ValueError, match="share is a number above 0 and below 1"):
        kerasft.replay(target(), SOURCE, share=1.0)
    with pytest.raises(TypeError, match=r"from_tensor_slices\(\(x, y\)\).batch\(32\)"):
        kerasft.replay(SOURCE, SOURCE)
    with pytest.raises(ValueError, match=r"look different.*\(2,\).*\(None, 1\)"):
        kerasft.replay(target(), (np.ones((3, 2)), np.ones(3)))
    with pytest.raises(ValueError, match=r"look different.*int64"):
        kerasft.replay(target(), (np.ones((3, 1), "int64"), np.ones(3)))
    with pytest.raises(ValueError, match=r"samples; they need as many each"):
        kerasft.replay(target(), (np.ones((3, 1)), np.ones(2)))
    weighted = target().map(lambda x, y: (x, y, y))
    with pytest.raises(TypeError, match=r"gives \(x, y\) alone"):
        kerasft.replay(weighted, SOURCE)
