"""The layers in a row at the end of a model, and why the row does not begin earlier."""

import keras
import numpy as np
import pytest
from keras import layers
from kerasft.export.on_device.row import row_of


def before(link):
    """The model before a layer."""
    inputs, tensor = link.before()
    return keras.Model(inputs, tensor)


def test_a_whole_model_may_be_a_row(dense_model):
    row = row_of(dense_model)
    assert [link.path for link in row.links] == ["first", "second", "top"]
    assert row.end == "the model begins there"
    x = np.ones((2, 4), "float32")
    wanted = dense_model.layers[1](dense_model.layers[0](x))
    np.testing.assert_allclose(before(row.links[2])(x), wanted, atol=1e-6)


def test_a_branch_ends_it():
    inputs = keras.Input((4,))
    a, b = layers.Dense(3, name="a")(inputs), layers.Dense(3, name="b")(inputs)
    x = layers.ReLU(name="end")(layers.Concatenate(name="both")([a, b]))
    row = row_of(keras.Model(inputs, x))
    assert [link.path for link in row.links] == ["end"]
    assert row.end == (
        "'both' (Concatenate) stands before, which joins 2 tensors: more than one crosses a cut there"
    )
    assert before(row.links[0])(np.ones((2, 4), "float32")).shape == (2, 6)


def test_an_operation_that_is_no_layer_ends_it():
    inputs = keras.Input((4,))
    x = layers.Dense(2, name="top")(keras.ops.sin(layers.Dense(3)(inputs)))
    row = row_of(keras.Model(inputs, x))
    assert [link.path for link in row.links] == ["top"]
    assert "'sin' (Sin) stands before, whose derivative is not known here" in row.end


def test_several_inputs_stay_the_models_own():
    inputs = {"b": keras.Input((4,), name="b"), "a": keras.Input((3,), name="a")}
    x = layers.Concatenate()([inputs["b"], inputs["a"]])
    model = keras.Model(inputs, layers.Dense(2, name="top")(x))
    data = {"b": np.ones((2, 4), "float32"), "a": np.full((2, 3), 2, "float32")}
    got = before(row_of(model).links[0])(data)
    np.testing.assert_array_equal(got[0], [1, 1, 1, 1, 2, 2, 2])


def test_several_outputs_are_refused(dense_model):
    model = keras.Model(dense_model.inputs, [dense_model.outputs[0], dense_model.layers[0].output])
    with pytest.raises(ValueError, match="one output; .* has 2"):
        row_of(model)
