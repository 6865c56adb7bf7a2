"""Flat graphs of the tiny SavedModels that tests of `kerasft.hub` use."""

import numpy as np
import tensorflow as tf

from kerasft.hub.flatten import flatten


def load(path, training=False):
    """The SavedModel of a folder, its concrete function, that one's data inputs, and its variables."""
    loaded = tf.saved_model.load(path)
    functions = loaded.__call__.concrete_functions
    function = next(
        f
        for f in functions
        if training in tf.nest.flatten(f.structured_input_signature)
        or not any(isinstance(v, bool) for v in tf.nest.flatten(f.structured_input_signature))
    )
    return loaded, function, data_of(function), list(function.variables)


def data_of(function):
    """The inputs of a concrete function that are data."""
    return [t for t in function.inputs if t.dtype not in (tf.resource, tf.bool)]


def flags_of(function, training):
    """The value of the flag for training, if it is an input."""
    return {t.op.name: np.array(training) for t in function.inputs if t.dtype == tf.bool}


def flat(path, training=False):
    """The flat graph of a folder, its variables, and the SavedModel."""
    loaded, function, data, variables = load(path, training)
    return (
        flatten(function, data, function.outputs, variables, flags_of(function, training)),
        variables,
        loaded,
    )


def graphs(path, modes=(False,)):
    """Flat graphs of a folder for each mode, and the variables of all its functions."""
    loaded = tf.saved_model.load(path)
    functions = {
        any(v is True for v in tf.nest.flatten(f.structured_input_signature)): f
        for f in loaded.__call__.concrete_functions
    }
    variables = list({id(v.handle): v for f in functions.values() for v in f.variables}.values())
    found = []
    for mode in modes:
        function = functions[mode]
        found.append(
            flatten(function, data_of(function), function.outputs, variables, flags_of(function, mode))
        )
    return found, variables
