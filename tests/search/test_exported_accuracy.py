from types import SimpleNamespace

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf

from kerasft import export
from kerasft.search import exported_accuracy as objective
from kerasft.search.exported_accuracy import (
    NAME,
    ExportedAccuracy,
    holdout_of,
    proxy,
)


@pytest.fixture(scope="module")
def data():
    """Two overlapping clouds and a third, so that no classifier is right about all of them."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    points = rng.normal(size=(60, 4)) + 0.7 * labels[:, None]
    return points.astype("float32"), labels.astype("int32")


@pytest.fixture(scope="module")
def trained(data):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(8, activation="relu"), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.05), loss, metrics=["accuracy"])
    model.fit(*data, epochs=10, verbose=0)
    return model


@pytest.fixture
def no_export(monkeypatch):
    """Replaces the export: what is given is the report, or the error that is raised."""

    def replace(result):
        calls = []

        def to_tflite(model, path, *, precision, holdout, representative_data=None):
            calls.append((precision, holdout, representative_data))
            if isinstance(result, Exception):
                raise result
            return result

        monkeypatch.setattr(objective, "to_tflite", to_tflite)
        return calls

    return replace


REPORT = SimpleNamespace(size_bytes=2000, accuracy_file=0.75, speed=SimpleNamespace(ms={"1": 1.5, "2": 9.0}))


def test_it_is_an_objective_to_be_maximized():
    goal = ExportedAccuracy()
    assert isinstance(goal, keras_tuner.Objective)
    assert (goal.name, goal.direction) == (NAME, "max") == ("exported_accuracy", "max")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precision": "int4"}, r"precision is one of \['float32', .*\], not 'int4'"),
        ({"precision": None}, "not None"),
        ({"max_bytes": 0}, "max_bytes is above 0; received 0"),
        ({"max_ms": -1.5}, "max_ms is above 0; received -1.5"),
        ({"max_ms": float("nan")}, "max_ms is above 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ExportedAccuracy(**arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "ExportedAccuracy('float32')"),
        ({"precision": "int8", "max_bytes": 3_000_000}, "ExportedAccuracy('int8', max_bytes=3000000)"),
        ({"max_bytes": 1, "max_ms": 0.5}, "ExportedAccuracy('float32', max_bytes=1, max_ms=0.5)"),
    ],
)
def test_its_text_tells_searches_apart(arguments, said):
    assert str(ExportedAccuracy(**arguments)) == said


def test_the_file_is_as_accurate_as_the_model_is_to_keras(trained, data):
    expected = trained.evaluate(*data, verbose=0)[1]
    assert 0.4 < expected < 1.0
    found, reason = ExportedAccuracy().measure(trained, data)
    assert found[NAME] == pytest.approx(expected, abs=1e-6) and reason == ""
    assert 4 * trained.count_params() < found["exported_bytes"] < 10_000
    assert 0 < found["exported_ms"] < 100
    batches = tf.data.Dataset.from_tensor_slices(data).batch(7)
    under_caps, reason = ExportedAccuracy(max_bytes=10_000, max_ms=100).measure(trained, batches)
    assert under_caps[NAME] == found[NAME] and reason == ""


@pytest.mark.parametrize(
    ("caps", "reason"),
    [
        ({"max_bytes": 2000, "max_ms": 1.5}, ""),  # just what is allowed
        ({"max_bytes": 1999}, "2,000 bytes exceed max_bytes=1,999"),
        ({"max_ms": 1.25}, "1.5 ms exceed max_ms=1.25"),
        ({"max_bytes": 10, "max_ms": 1}, "2,000 bytes exceed max_bytes=10; 1.5 ms exceed max_ms=1"),
    ],
)
def test_a_file_over_a_cap_is_worth_nothing_and_the_reason_is_given(no_export, caps, reason):
    no_export(REPORT)
    accuracy = 0.0 if reason else 0.75
    expected = {NAME: accuracy, "exported_bytes": 2000.0, "exported_ms": 1.5}
    assert ExportedAccuracy(**caps).measure(None, None) == (expected, reason)


def test_a_model_that_cannot_be_exported_is_worth_nothing(no_export):
    no_export(export.ExportError("no such operation"))
    assert ExportedAccuracy().measure(None, None) == (
        {NAME: 0.0},
        "It can't be exported: no such operation",
    )


def test_other_errors_are_not_hidden(no_export):
    no_export(OSError("the disk is full"))
    with pytest.raises(OSError, match="the disk is full"):
        ExportedAccuracy().measure(None, None)


def test_what_has_no_accuracy_ends_the_search(trained, data):
    with pytest.raises(
        keras_tuner.errors.FatalValueError, match="validation data with labels; .* the targets are numbers"
    ):
        ExportedAccuracy().measure(trained, (data[0], np.full((60, 3), 0.4)))


def test_representative_data_are_for_int8(no_export):
    calls = no_export(REPORT)
    for precision in ("float16", "int8"):
        ExportedAccuracy(precision).measure(None, "holdout", "training")
    assert calls == [("float16", "holdout", None), ("int8", "holdout", "training")]


def test_int8_is_measured_as_int8(trained, data):
    training = data[0] + np.float32(0.01), data[1]  # others than the holdout
    found, reason = ExportedAccuracy("int8").measure(trained, data, training)
    floats = ExportedAccuracy().measure(trained, data)[0]
    assert reason == "" and found["exported_bytes"] != floats["exported_bytes"]
    assert found[NAME] == pytest.approx(floats[NAME], abs=0.1)


@pytest.mark.parametrize(
    ("names", "name", "direction"),
    [
        (["accuracy", "loss", "val_accuracy", "val_loss"], "val_accuracy", "max"),
        (["val_loss", "val_sparse_categorical_accuracy"], "val_sparse_categorical_accuracy", "max"),
        (["val_acc", "val_loss"], "val_acc", "max"),
        (["accuracy", "loss", "val_loss"], "val_loss", "min"),
        ([], "val_loss", "min"),
    ],
)
def test_validation_accuracy_stands_for_it_or_else_the_loss(names, name, direction):
    found = proxy(dict.fromkeys(names, 0.0))
    assert (found.name, found.direction) == (name, direction)


def test_sample_weights_stay_with_a_holdout():
    x, y, weight = np.ones((4, 2)), np.arange(4), np.zeros(4)
    for given in ((x, y), (x, y, weight), [x, y, weight]):
        found = holdout_of(given)
        assert len(found) == len(given) and all(a is b for a, b in zip(found, given, strict=True))
    rows = tf.data.Dataset.from_tensor_slices((x, y, weight)).batch(2)
    assert [b[1].numpy().tolist() for b in holdout_of(rows)] == [[0, 1], [2, 3]]
    assert all(len(b) == 3 for b in holdout_of(rows))
    assert holdout_of(None) is None and objective.holdout_of(iter([])) is None
