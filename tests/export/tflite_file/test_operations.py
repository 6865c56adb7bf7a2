"""What a file is made of, and what in it computes in float."""

import flatbuffers
import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from kerasft.export.tflite_file.litert import quiet
from kerasft.export.tflite_file.operations import (
    Operand,
    Operation,
    census,
    custom,
    in_float,
    read_operations,
)
from small_models import classifier, fitted, images

from kerasft import export


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    export.ladder(fitted(classifier()), folder, holdout=images(40, 1), representative_data=images())
    return {p.stem: p.read_bytes() for p in folder.glob("*.tflite")}


def test_operations_operands_and_dtypes(files):
    operations = read_operations(files["float32"])
    counts = census(operations)
    assert (
        counts["CONV_2D"]
        == counts["DEPTHWISE_CONV_2D"]
        == counts["FULLY_CONNECTED"]
        == counts["SOFTMAX"]
        == 1
    )
    (conv,) = [o for o in operations if o.name == "CONV_2D"]
    assert conv.builtin and custom(operations) == []
    assert [t.constant for t in conv.inputs] == [False, True, True]
    assert (conv.inputs[1].shape, conv.inputs[1].dtype) == ((8, 3, 3, 3), "float32")
    assert conv.outputs[0].shape == (1, 6, 6, 8)
    (quantized,) = [o for o in read_operations(files["int8"]) if o.name == "CONV_2D"]
    assert [t.dtype for t in quantized.inputs] == ["int8", "int8", "int32"]


def test_conversions_at_the_edges_are_no_float_and_all_else_is(files):
    for name in ("int8", "int8_io"):
        assert in_float(read_operations(files[name])) == []
    for name in ("float32", "float16", "dynamic", "weight_only"):
        found = in_float(read_operations(files[name]))
        assert any(text.startswith("CONV_2D (") for text in found), name
    floats = Operand("a", (1,), "float32", False), Operand("b", (1,), "float32", False)
    inner = Operand("q", (1,), "int8", False)
    between = (
        Operation("QUANTIZE", True, floats[:1], (inner,)),
        Operation("DEQUANTIZE", True, (inner,), floats[1:]),
        Operation("EXP", True, floats[1:], (Operand("c", (1,), "float32", False),)),
    )
    assert in_float(between) == ["DEQUANTIZE (b)", "EXP (c)"]
    weight = Operand("w", (1,), "float32", True)  # an edge is an input of the file, not a weight
    assert in_float((Operation("QUANTIZE", True, (weight,), (inner,)),)) == ["QUANTIZE (q)"]
    assert in_float((Operation("ASSIGN_VARIABLE", True, floats, ()),)) == ["ASSIGN_VARIABLE (a)"]


def test_operations_that_are_not_built_in_are_named():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Lambda(tf.tan)(inputs))
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    assert custom(read_operations(converter.convert())) == ["FlexTan"]


def test_damaged_files_are_refused(files):
    with pytest.raises(ValueError, match="lacks the mark TFL3"):
        read_operations(b"PK\x03\x04 something else")
    for length in (12, 40, 200):
        with pytest.raises(ValueError, match="cut short or damaged"):
            read_operations(files["float32"][:length])


def test_one_float_operation_left_in_an_int8_file_is_found():
    """SIN has no kernel for int8: a converter that may leave it in float wraps it in conversions."""
    inputs = keras.Input((4,))
    x = keras.layers.Dense(8, activation="relu")(inputs)
    x = keras.layers.Dense(3)(keras.layers.Lambda(tf.sin)(x))
    data = np.random.default_rng(0).normal(size=(32, 1, 4)).astype("float32")
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(inputs, x))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row] for row in data)
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
        tf.lite.OpsSet.TFLITE_BUILTINS,
    ]
    with quiet():  # a warning about statistics that it does not need
        operations = read_operations(converter.convert())
    assert census(operations)["SIN"] == 1 and census(operations)["FULLY_CONNECTED"] == 2
    assert [text.split(" ")[0] for text in in_float(operations)] == ["DEQUANTIZE", "SIN", "QUANTIZE"]
    assert {"QUANTIZE", "DEQUANTIZE"} <= {operations[0].name, operations[-1].name}  # the allowed ones


def test_no_cut_and_no_damage_ends_in_another_error(files):
    content = files["int8"]
    for length in range(0, len(content), 7):
        with pytest.raises(ValueError, match=r"\.tflite file"):
            read_operations(content[:length])
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = np.frombuffer(content, "uint8").copy()
        damaged[rng.integers(8, len(damaged), 5)] = rng.integers(0, 256, 5)
        try:
            read_operations(damaged.tobytes())
        except ValueError as error:
            assert "cut short or damaged" in str(error)


def test_a_dtype_that_does_not_exist_is_damage(files):
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(files["float32"], 0))
    model.subgraphs[0].tensors[0].type = 99
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    with pytest.raises(ValueError, match="cut short or damaged: 99"):
        read_operations(bytes(builder.Output()))
