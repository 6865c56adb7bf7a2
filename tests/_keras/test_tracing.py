"""Impure operations of traced functions, and training steps that stay in memory."""

import gc
import weakref

import keras
import numpy as np
import tensorflow as tf

from kerasft._keras.tracing import impure_operations, release_traced_steps


def test_impure_operations_are_found():
    dropout, dense = keras.layers.Dropout(0.5), keras.layers.Dense(2)
    dense.build((None, 2))
    spec = tf.TensorSpec((None, 2))

    def graph(function):
        return tf.function(function, autograph=False).get_concrete_function(spec).graph

    assert impure_operations(graph(lambda x: dense(x))) == []
    assert impure_operations(graph(lambda x: dropout(x, training=False))) == []
    assert "AssignVariableOp" in impure_operations(graph(lambda x: dropout(x, training=True)))
    assert impure_operations(graph(lambda x: x * tf.random.uniform(()))) == ["RandomUniform"]
    assert impure_operations(graph(lambda x: tf.py_function(lambda y: y, [x], tf.float32)))
    nested = tf.function(lambda x: x + tf.random.normal(()))
    assert impure_operations(graph(lambda x: nested(x))) == ["RandomStandardNormal"]


def test_a_training_step_is_let_go_of_when_its_block_ends():
    """TensorFlow keeps it, and the weights with it: `ReplicaContext.all_reduce` enters it into a table."""

    def fitted():
        graphs = []

        class Noting(keras.layers.Layer):
            def call(self, x):
                graphs.append(weakref.ref(tf.compat.v1.get_default_graph()))
                return keras.ops.silu(x)  # whose gradient is in the table as well

        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3), Noting(), keras.layers.Dense(1)])
        model.compile("adam", "mse")
        model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
        return model, graphs[-1]

    def gone(reference):
        gc.collect()
        return reference() is None

    model, kept = fitted()
    del model
    assert not gone(kept)  # if it is, TensorFlow has mended this, and `release_traced_steps` can go
    with release_traced_steps():
        model, dropped = fitted()
    before = model.get_weights()
    model.fit(np.ones((4, 2)), np.zeros((4, 1)), verbose=0)  # it still trains, by the step that was traced
    assert not np.array_equal(before[0], model.get_weights()[0])
    with release_traced_steps():
        model.compile("sgd", "mse")  # and by a new one
        model.fit(np.ones((4, 2)), np.zeros((4, 1)), verbose=0)
    del model
    assert gone(dropped) and not gone(kept)
