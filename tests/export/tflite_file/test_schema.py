"""Flatbuffers of .tflite files."""

import numpy as np
import pytest
import tensorflow as tf
from kerasft.export.tflite_file import schema


@pytest.fixture(scope="module")
def content():
    double = tf.function(lambda x: {"y": 2 * x}, input_signature=[tf.TensorSpec((None, 3), name="x")])
    module = tf.Module()
    return tf.lite.TFLiteConverter.from_concrete_functions([double.get_concrete_function()], module).convert()


def test_tensors_are_read(content):
    graph = schema.model_of(content).Subgraphs(0)
    tensor = graph.Tensors(graph.Inputs(0))
    assert schema.shape_of(tensor) == (-1, 3) and schema.dtype_of(tensor) == "float32"
    code = schema.model_of(content).OperatorCodes(0)
    assert schema.enum_names("BuiltinOperator")[schema.builtin_of(code)] == "MUL"


def test_a_change_is_written(content):
    model = schema.unpacked(content)
    model.description = b"another"
    again = schema.model_of(schema.packed(model))
    assert again.Description() == b"another" and np.frombuffer(content, "uint8").size == len(content)


def test_other_files_are_refused():
    with pytest.raises(ValueError, match="lacks the mark TFL3"):
        schema.model_of(b"PK, and more bytes")
