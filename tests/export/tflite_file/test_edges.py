"""The order of inputs and outputs in the graph, by the names of the signature."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from kerasft.export.tflite_file.edges import edge_order

from kerasft import export


@pytest.mark.process
def test_the_order_is_that_of_the_interpreters_own_inputs(tmp_path):
    """A value of its own for each input, set by its place, gives what the signature gives by its name."""
    keras.utils.set_random_seed(0)
    inputs = {name: keras.Input((2,), name=name) for name in ("zebra", "ant", "cow")}
    outputs = [keras.layers.Dense(2, name="y")(inputs["cow"]), inputs["zebra"] * 2.0, inputs["ant"] + 1.0]
    path = tmp_path / "m.tflite"
    export.to_tflite(keras.Model(inputs, outputs), path)
    names, made = edge_order(path.read_bytes())
    assert sorted(names) == ["ant", "cow", "zebra"]
    values = {name: np.full((1, 2), 1.0 + i, "float32") for i, name in enumerate(names)}
    interpreter = Interpreter(str(path))
    expected = interpreter.get_signature_runner()(**values)
    interpreter.allocate_tensors()
    for details, name in zip(interpreter.get_input_details(), names):
        interpreter.set_tensor(details["index"], values[name])
    interpreter.invoke()
    assert sorted(made) == sorted(expected)
    for details, name in zip(interpreter.get_output_details(), made):
        np.testing.assert_array_equal(interpreter.get_tensor(details["index"]), expected[name])


def test_other_bytes_are_refused():
    with pytest.raises(ValueError, match=r"no \.tflite file"):
        edge_order(b"0123456789")
