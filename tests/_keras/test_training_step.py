"""Keras's own steps, and models that have others."""

import keras

from kerasft._keras.training_step import overridden_methods


def test_keras_still_has_the_names_of_the_training_function(dense_model):
    assert dense_model._initial_epoch is None and dense_model.steps_per_execution == 1
    dense_model.compile("adam", "mse")
    assert dense_model.train_function is None
    dense_model.make_train_function(force=True)
    assert callable(dense_model.train_function)


def test_steps_and_methods_that_are_not_kerass(dense_model):
    class Own(keras.Sequential):
        def compute_metrics(self, *args, **kwargs):
            return {}

    assert overridden_methods(dense_model) == []
    assert overridden_methods(Own([keras.Input((2,)), keras.layers.Dense(1)])) == ["compute_metrics"]
    dense_model.train_step = lambda data: {}
    assert overridden_methods(dense_model) == ["train_step"]
