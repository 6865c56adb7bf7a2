"""Accuracy by a model's largest score, against counting by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasft.retention.accuracy import Scores, check_labelled

X = np.eye(3, dtype="float32")[[0, 1, 2, 1, 0] * 20]  # 100 samples, more than one batch
Y = np.array([0, 1, 2, 0, 0] * 20)  # 80 of which are what the largest score says


@pytest.fixture
def same():
    """A model whose scores are its inputs."""
    net = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(3, use_bias=False, name="top")], name="same"
    )
    net.layers[0].kernel.assign(np.eye(3))
    return net


def test_labels_in_every_form(same):
    forms = [Y, Y[:, None], np.eye(3)[Y]]
    data = [(X, labels) for labels in forms]
    data += [tf.data.Dataset.from_tensor_slices(pair).batch(32) for pair in data]
    data.append(tf.data.Dataset.from_tensor_slices((X, Y, np.ones(100))).batch(7))
    scores = Scores(same)
    for pair in data:
        check_labelled("it", pair)
        assert scores.accuracy(pair) == pytest.approx(0.8)


def test_classes_without_samples_are_named_once(same, caplog):
    scores = Scores(same)
    for _ in range(2):
        assert scores.accuracy((X[:2], Y[:2])) == 1.0
    (record,) = caplog.records
    assert "no samples of the classes [2], for which 'same' has scores" in record.getMessage()


def test_what_is_wrong_is_named(same):
    with pytest.raises(ValueError, match=r"rows of 3 with a 1; .* shape \(64, 2\) with values from 0 to 2"):
        Scores(same).accuracy((X, np.stack([Y, Y], 1)))
    one = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)], name="one")
    with pytest.raises(ValueError, match=r"'one' gives scores of shape \(64, 1\)"):
        Scores(one).accuracy((X, Y))
    with pytest.raises(TypeError, match="received lists or numbers"):
        check_labelled("it", ([[1.0]], [1]))
    with pytest.raises(ValueError, match=r"samples; they need as many each"):
        check_labelled("it", (X, Y[:3]))
    with pytest.raises(TypeError, match="it is a pair .* received ndarray"):
        check_labelled("it", X)
