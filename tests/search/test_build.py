"""The model of a trial: what the user's function may return, and how the model is compiled."""

import keras
import keras_tuner
import numpy as np
import pytest
from keras_tuner import errors
from small_searches import FIXED, build_model, grid, searched

from kerasft import FreezeDepthSearch
from kerasft.search.build import built_model, compile_with


def test_what_the_users_own_build_adds_is_searched(tmp_path):
    def build(hp):
        return build_model(units=hp.Choice("units", [4, 6]))

    search = FreezeDepthSearch(build, [2], ["head_then_all"], **FIXED)
    searched(grid(search, tmp_path))
    assert [r.values["units"] for r in search.results()] == [4, 6]
    assert [r.score is not None for r in search.results()] == [True, True]


def test_a_model_that_is_not_compiled_gets_the_usual_loss(tmp_path):
    search = FreezeDepthSearch(lambda: build_model(compiled=False), [2], ["frozen_head"], **FIXED)
    tuner = searched(grid(search, tmp_path))
    assert search.best_model(tuner).loss.name == "sparse_categorical_crossentropy"
    assert "val_accuracy" in search.results()[0].metrics


def test_what_build_model_must_return(tmp_path):
    with pytest.raises(errors.FatalTypeError, match="build_model returned None, which is no Keras model"):
        grid(FreezeDepthSearch(lambda: None), tmp_path)
    with pytest.raises(TypeError, match="build_model is a function"):
        FreezeDepthSearch(build_model())


def test_names_that_build_model_must_not_take(tmp_path):
    def build(hp):
        hp.Float("learning_rate", 0.1, 0.2)
        return build_model()

    with pytest.raises(
        errors.FatalValueError, match=r"declares \['learning_rate'\], which FreezeDepthSearch"
    ):
        grid(FreezeDepthSearch(build), tmp_path)


def test_each_model_has_metrics_of_its_own():
    accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")

    def build():
        return build_model(compiled=False)

    def compile_model(model):
        compile_with(model, "mse", [accuracy])

    for _ in range(2):
        model, stages = built_model(build, keras_tuner.HyperParameters(), 0, compile_model)
        assert len(stages) == 4
        assert "accuracy" in model.evaluate(np.ones((2, 4)), np.ones((2, 1)), verbose=0, return_dict=True)
    assert float(accuracy.count) == 0
