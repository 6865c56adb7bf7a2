"""All of a holdout in one pass for several files, against numbers worked out by hand."""

import keras
import numpy as np
import pytest
from kerasft.export.errors import ExportError
from kerasft.export.model.holdout import looked_at
from kerasft.export.model.measured import Measured, measured

RNG = np.random.default_rng(0)


def identity(units=3, activation=None):
    inputs = keras.Input((units,), name="x")
    return keras.Model(inputs, keras.layers.Activation(activation, name="y")(inputs))


def run(model, holdout, **files):
    _, reading = looked_at(model, holdout, None)
    return measured(model, holdout, reading, {name: (file, {}) for name, file in files.items()})


def test_differences_accuracy_and_the_worst_sample_of_seventy():
    x, y = RNG.normal(size=(70, 3)).astype("float32"), RNG.integers(0, 3, 70)
    x[50, 1] = 9.0

    def off(named):
        return {"y": named["x"] + (0.25 if np.array_equal(named["x"], x[41:42]) else 0)}

    def turned(named):
        return {"y": named["x"][:, ::-1]}

    found, reason = run(identity(), (x, y), off=off, turned=turned)
    parity = found["off"].comparison.parity
    assert (parity.samples, parity.worst, parity.max_abs) == (70, 41, 0.25) and reason == ""
    assert parity.max_relative == pytest.approx(0.25 / 9)
    assert parity.rms_relative == pytest.approx(np.sqrt(3 * 0.25**2 / np.sum(x.astype(float) ** 2)))
    quality = found["turned"].quality
    assert quality.accuracy_model == np.mean(x.argmax(1) == y)
    assert quality.accuracy_file == np.mean(2 - x.argmax(1) == y)
    assert found["off"].quality.agreement == 1 and found["off"].quality.samples == 70


def test_a_file_that_fails_leaves_the_others():
    x = RNG.normal(size=(10, 3)).astype("float32")

    def broken(named):
        if np.array_equal(named["x"], x[7:8]):
            raise ExportError("it broke")
        return {"y": named["x"]}

    found, reason = run(identity(), x, broken=broken, sound=lambda named: {"y": named["x"]})
    assert str(found["broken"]) == "it broke" and isinstance(found["sound"], Measured)
    assert list(found) == ["broken", "sound"] and reason == "the holdout has no labels"


def test_logits_and_a_regression_look_alike_and_nothing_is_measured():
    x = np.linspace(-2, 2, 20, dtype="float32")[:, None]
    file = {"sound": lambda named: {"y": named["x"]}}
    found, reason = run(identity(1), (x, x > 0), **file)
    assert found["sound"].quality is None and "threshold is 0, or those of a regression" in reason
    within = (x + 2) / 4
    found, reason = run(identity(1), (within, x > 0), **file)
    assert reason == "" and found["sound"].quality.accuracy_model == 1


def test_class_numbers_that_begin_with_one_are_told_from_a_class_that_is_missing():
    """With the last class absent 1 and 2 are in range as well; the model names the largest column."""
    y = RNG.integers(0, 2, 60)
    x = np.eye(3, dtype="float32")[y] + RNG.uniform(0, 0.5, (60, 3)).astype("float32")

    def accuracy(x, labels):
        found, _ = run(identity(), (x, labels), same=lambda named: {"y": named["x"]})
        return found["same"].quality.accuracy_model

    assert accuracy(x, y) == 1
    with pytest.raises(
        ValueError, match=r"from 1 to 2[.] .*for 0 of 60 samples; less 1, .*for 60[.] Subtract 1"
    ):
        accuracy(x, y + 1)
    assert accuracy(x[:, [2, 0, 1]], y + 1) == 1  # the classes 1 and 2 by right
    chance = RNG.normal(size=(60, 3)).astype("float32")  # refuses nothing
    assert accuracy(chance, y + 1) == np.mean(chance.argmax(1) == y + 1)
