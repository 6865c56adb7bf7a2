"""A small module for SavedModels that tests of `kerasft.hub` write."""

import numpy as np
import tensorflow as tf


class Simple(tf.Module):
    """A module around a function of the input that makes its own use of two square kernels."""

    def __init__(self, function, spec=None, trace=True):
        rng = np.random.default_rng(4)
        self.first = tf.Variable(rng.normal(0, 0.5, (4, 4)).astype("float32"), name="first/kernel")
        self.second = tf.Variable(rng.normal(0, 0.5, (4, 4)).astype("float32"), name="second/kernel")
        self.third = tf.Variable(rng.normal(0, 0.5, (4, 4)).astype("float32"), name="third/kernel")
        self.function = function
        self.__call__ = tf.function(lambda x: self.function(self, x))
        if trace:
            self.__call__.get_concrete_function(spec or tf.TensorSpec((None, 4), tf.float32, name="x"))
