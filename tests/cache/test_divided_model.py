"""The two parts of a divided model: the values at its cuts, and fingerprints of what goes in."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasft
from kerasft.cache.cut_plan import CutPlan, FitCuts
from kerasft.cache.divided_model import DividedModel
from kerasft.cache.records.table import StorageError


def model_of(*layers):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(2, name="head")])
    for layer in model.layers[:-1]:
        layer.trainable = False
    model.compile("sgd", "mse")
    return model


def batch(count=6):
    x = np.random.default_rng(0).normal(size=(count, 3)).astype("float32")
    return tf.constant(x), tf.zeros((count, 2))


SPEC = (tf.TensorSpec((None, 3)), tf.TensorSpec((None, 2)))


def prepared(model, plan=None):
    divided = DividedModel(model, training=True)
    divided.prepare(FitCuts(plan or CutPlan(), model, []), SPEC)
    return divided


def test_values_at_each_cut():
    layers = [keras.layers.Dense(5, name="low"), keras.layers.Dense(4, name="high")]
    model = model_of(*layers)
    divided = prepared(model, CutPlan(stages=kerasft.find_stages(model), depths=[1]))
    assert divided.is_prepared and [cut.name for cut in divided.cuts] == ["high", "low"]
    assert divided.seconds_per_cost == 0 and divided.traced_prefixes == 0
    x, y = batch()
    (((high, _),), ((low, _),)), extra_inputs = divided.run_prefix((x, y))
    np.testing.assert_allclose(low, layers[0](x), atol=1e-6)
    np.testing.assert_allclose(high, layers[1](layers[0](x)), atol=1e-6)
    assert extra_inputs == {}
    assert divided.seconds_per_cost > 0
    divided.run_prefix((x, y))
    assert divided.traced_prefixes == 1
    divided.retrace()
    assert not divided.is_prepared and divided.seconds_per_cost > 0


def test_the_suffix_takes_a_step():
    model = model_of(keras.layers.Dense(5, name="low"))
    divided = prepared(model)
    x, y = batch()
    (((value, _),),), _ = divided.run_prefix((x, y))
    logs = divided.suffix([value, y], (False,), ()).step([value, y])
    expected = np.mean(np.square(model.layers[-1](value).numpy()))
    assert model.optimizer.iterations == 1 and float(logs["loss"]) > expected  # it was that before the step


def test_fingerprints_are_those_of_samples():
    divided = prepared(model_of(keras.layers.Dense(5)))
    x, y = batch()
    found = divided.fingerprints((x, y))
    assert len(set(found.tolist())) == 6
    assert divided.fingerprints((x[::-1], y)).tolist() == found[::-1].tolist()


def test_samples_that_depend_on_each_other():
    centre = keras.layers.Lambda(lambda x: x - 5 * keras.ops.mean(x, axis=0, keepdims=True))
    divided = prepared(model_of(centre, keras.layers.Dense(5)))
    with pytest.raises(StorageError, match="depends on the others in its batch"):
        divided.run_prefix(batch())


def test_data_that_can_not_be_recorded():
    model = model_of(keras.layers.Dense(5))
    divided = DividedModel(model, training=True)
    with pytest.raises(StorageError, match="dense tensors alone"):
        divided.prepare(FitCuts(CutPlan(), model, []), (tf.RaggedTensorSpec((None, None)), SPEC[1]))
    assert not divided.is_prepared
