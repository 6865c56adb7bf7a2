"""Models that give NaN by themselves, and where it begins."""

import keras
import numpy as np
import pytest
from kerasft.export.model.finite import check_finite
from kerasft.export.model.samples import expected_of

from kerasft import export

layers = keras.layers


class Log(layers.Layer):
    def call(self, x):
        return keras.ops.log(x - 100.0)


def with_nan_inside():
    inputs = keras.Input((4,), name="x")
    inner_in = keras.Input((3,))
    inner = keras.Model(inner_in, layers.Dense(3)(Log(name="broken")(inner_in)), name="inner")
    return keras.Model(inputs, layers.Dense(2, name="last")(inner(layers.Dense(3)(inputs))))


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_layer_where_it_begins_is_named_however_deep_it_is(tmp_path, precision):
    x = np.random.default_rng(0).normal(size=(20, 4)).astype("float32")
    with pytest.raises(
        ValueError, match=r"model itself gives NaN, for sample 0 .*from the layer 'broken' .Log."
    ):
        export.to_tflite(with_nan_inside(), tmp_path / "a.tflite", precision=precision, representative_data=x)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="model itself gives NaN"):
        export.ladder(with_nan_inside(), tmp_path / "out", holdout=x)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named(tmp_path, value):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="one"), layers.Dense(2, name="two")])
    kernel, bias = model.layers[1].get_weights()
    kernel[1, 1] = value
    model.layers[1].set_weights([kernel, bias])
    with pytest.raises(ValueError, match=r"weights \['[a-z0-9_/]*two/kernel'\] are not finite.*diverged"):
        export.to_tflite(model, tmp_path / "a.tflite")
    assert list(tmp_path.iterdir()) == []


def test_samples_that_are_not_finite_are_not_blamed_on_the_model(tmp_path):
    model = keras.Sequential([keras.Input((4,), name="x"), layers.Dense(2)])
    x = np.ones((40, 4), "float32")
    x[33, 1] = np.nan  # no golden sample
    with pytest.raises(
        ValueError, match=r"for sample 33 .*sample is not finite itself, in the inputs \['x'\]"
    ):
        export.to_tflite(model, tmp_path / "a.tflite", holdout=x)
    assert list(tmp_path.iterdir()) == []


def test_masks_of_infinities_and_made_up_zeros_are_no_fault(tmp_path):
    inputs = keras.Input((4,), name="x")
    masked = keras.ops.where(inputs > 0.0, inputs, -np.inf)
    export.to_tflite(keras.Model(inputs, masked), tmp_path / "a.tflite")
    unit = inputs / keras.ops.sqrt(keras.ops.sum(inputs**2, axis=1, keepdims=True))
    report = export.to_tflite(keras.Model(inputs, unit), tmp_path / "b.tflite")
    assert report.parity.samples < 16  # without the vector of zeros, for which it is NaN


def test_the_call_of_layers_is_put_back():
    before = keras.Layer.__call__, keras.Operation.__call__
    model, sample = with_nan_inside(), [{"x": np.ones((1, 4), "float32")}]
    with pytest.raises(ValueError, match="NaN, for sample 7"):
        check_finite(model, sample, expected_of(model, sample), [7])
    assert (keras.Layer.__call__, keras.Operation.__call__) == before
