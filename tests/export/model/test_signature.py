"""Names and structures of a model's inputs and outputs."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from kerasft.export.model import signature

from kerasft import export


def test_several_inputs_and_outputs_by_name(tmp_path):
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    total = keras.layers.Dense(2, name="total")(keras.layers.Add()([a, b]))
    model = keras.Model({"b": b, "a": a}, {"sum": total, "first": keras.layers.Dense(1, name="first")(a)})
    path = export.to_saved_model(model, tmp_path / "model")
    x = {"a": np.ones((2, 3), "float32"), "b": 2 * np.ones((2, 3), "float32")}
    served = tf.saved_model.load(str(path)).signatures["serving_default"](
        **{k: tf.constant(v) for k, v in x.items()}
    )
    expected = model(x, training=False)
    assert set(served) == {"sum", "first"}
    for name, value in expected.items():
        np.testing.assert_allclose(served[name], value, rtol=1e-6)


def test_names_are_those_that_a_signature_can_have_and_unique():
    a, b = keras.Input((2,), name="an input"), keras.Input((3,), name="an-input")
    model = keras.Model([a, b], keras.layers.Dense(1, name="y z")(keras.layers.Concatenate()([a, b])))
    assert signature.input_keys(model) == ["an input", "an-input"]
    assert signature.input_names(model) == ["an_input", "an_input_1"]
    assert signature.output_names(model) == ["y_z"]
    packed = signature.pack_inputs(model, {"an_input_1": 2, "an_input": 1})
    assert packed == [1, 2]
    assert [tuple(spec.shape) for spec in signature.input_specs(model)] == [(None, 2), (None, 3)]


def test_models_of_which_the_inputs_are_not_known_are_refused():
    with pytest.raises(TypeError, match=r"keras\.Model can be exported, not str"):
        signature.check_model("model")
    with pytest.raises(ValueError, match="not built"):
        signature.check_model(keras.Sequential([keras.layers.Dense(2)]))
