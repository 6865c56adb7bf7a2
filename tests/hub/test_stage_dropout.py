"""Dropout of frozen Hub stages: off as a rule, drawn where that is asked for, refused where it does more."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasft
from kerasft.hub import load_backbone

X = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")
Y = np.ones((32, 1), "float32")


class Dropping(tf.Module):
    """body, relu, dropout at half, top; or with statistics that training moves."""

    def __init__(self, normalizes):
        rng = np.random.default_rng(1)
        self.normalizes = normalizes
        self.body = tf.Variable(rng.normal(size=(6, 8)).astype("float32"), name="body/kernel")
        self.top = tf.Variable(rng.normal(size=(8, 4)).astype("float32"), name="top/kernel")
        self.mean = tf.Variable(np.zeros(8, "float32"), trainable=False, name="body/moving_mean")
        self.__call__ = tf.function(self.apply)
        for training in (False, True):
            self.__call__.get_concrete_function(tf.TensorSpec((None, 6), name="x"), training)

    def apply(self, x, training=False):
        y = tf.nn.relu(tf.matmul(x, self.body))
        if self.normalizes:
            mean = tf.reduce_mean(y, 0)
            if training:
                self.mean.assign(self.mean * 0.9 + mean * 0.1)
            y -= mean if training else self.mean
        y = tf.nn.dropout(y, 0.5) if training else y
        return tf.matmul(y, self.top)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "model"
    tf.saved_model.save(Dropping(normalizes=False), path)
    return path


@pytest.fixture(scope="module")
def normed(tmp_path_factory):
    path = tmp_path_factory.mktemp("normed") / "model"
    tf.saved_model.save(Dropping(normalizes=True), path)
    return path


def classifier(path, **options):
    inputs = keras.Input((6,))
    model = keras.Model(inputs, keras.layers.Dense(1, name="head")(load_backbone(path, **options)(inputs)))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    return model


def draws(model):
    """Whether two steps at the rate 0 on the same data give other losses."""
    losses = [model.fit(X, Y, batch_size=32, verbose=0, shuffle=False).history["loss"][0] for _ in range(2)]
    return losses[0] != losses[1]


def test_a_frozen_stage_draws_where_that_is_asked_for(plain, tmp_path):
    model = classifier(plain, batch_norm="train")
    for policy in (None, "inference"):
        kerasft.freeze(model, "head", dropout=policy)
        assert not draws(model)
    kerasft.freeze(model, "head", dropout="train")
    before = [v.numpy() for v in model.weights]
    assert draws(model)
    assert all(np.array_equal(a, v.numpy()) for a, v in zip(before, model.weights, strict=True))
    assert len(model.trainable_weights) == 2
    np.testing.assert_array_equal(model.predict(X, verbose=0), model.predict(X, verbose=0))
    assert "draws random numbers" in kerasft.inspect_prefix(model).reason
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert draws(loaded)
    kerasft.freeze(model, "head")
    assert not draws(model)


def test_what_a_stage_was_loaded_with_comes_back(plain):
    model = classifier(plain, trainable=False, dropout="train")
    assert draws(model)
    kerasft.freeze(model, "head", dropout="inference")
    assert not draws(model)
    with kerasft.frozen(model, "head"):
        assert draws(model)
    assert not draws(model)
    kerasft.unfreeze(model)  # batch_norm is "inference", which turns dropout off in stages that train
    assert not draws(model)


def test_a_stage_that_would_move_statistics_is_refused(normed):
    model = classifier(normed)
    with pytest.raises(
        ValueError, match=r'dropout="train" runs the training graph of .* updates .*moving_mean'
    ):
        kerasft.freeze(model, "head", dropout="train")
    assert len(model.trainable_weights) == 4  # nothing has changed
    with pytest.raises(ValueError, match='dropout="train" runs the training graph'):
        load_backbone(normed, dropout="train")
    kerasft.freeze(model, "head", dropout="inference")
    assert not draws(model)


def test_a_stage_without_a_graph_for_training_is_refused(tmp_path):
    module = tf.Module()
    module.kernel = tf.Variable(np.ones((6, 2), "float32"), name="kernel")
    module.__call__ = tf.function(
        lambda x: tf.matmul(x, module.kernel), input_signature=[tf.TensorSpec((None, 6))]
    )
    tf.saved_model.save(module, tmp_path / "saved")
    with pytest.raises(ValueError, match='dropout="train" needs a training graph, which the stage'):
        load_backbone(tmp_path / "saved", dropout="train")
    with pytest.raises(ValueError, match='dropout is "inference", "train" or None, not .off.'):
        load_backbone(tmp_path / "saved", dropout="off")
