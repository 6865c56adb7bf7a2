"""Frozen weights that somebody writes are noticed, and the same values are no change."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasft.cache.frozen_weights import Weights


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32"])
def test_a_change_of_a_weight_is_seen_and_the_same_values_are_none(dtype):
    variables = [keras.Variable(np.zeros(shape), dtype=dtype) for shape in ((), (3,), (2, 0))]
    weights = Weights(variables)
    assert weights.are_unchanged()
    variables[1].assign(np.zeros(3))
    assert weights.are_unchanged()
    variables[1].assign([0, 0, 1])
    assert not weights.are_unchanged()
    variables[1].assign([0, 0, 0])
    assert weights.are_unchanged()
    variables[0].assign(1)
    assert not weights.are_unchanged()


def test_a_weight_that_is_written_in_place_is_seen():
    variable = keras.Variable(np.zeros((4, 2), "float32"))
    raw = variable.value

    def apply():
        tf.raw_ops.ResourceApplyGradientDescent(var=raw.handle, alpha=0.1, delta=tf.ones((4, 2)))

    def scatter():
        raw.scatter_add(tf.IndexedSlices(tf.ones((1, 2)), tf.constant([2])))

    for write in (lambda: raw.assign_add(tf.ones((4, 2))), apply, scatter, tf.function(apply)):
        weights = Weights([variable])
        assert weights.are_unchanged()
        write()
        assert not weights.are_unchanged()


def test_not_a_number_is_equal_to_itself():
    variable = keras.Variable([np.nan])
    weights = Weights([variable])
    variable.assign([np.nan])
    assert weights.are_unchanged()
