"""A .tflite file that is damaged ends in one ValueError that says so, whoever reads it."""

import contextlib
import os
from types import SimpleNamespace

import flatbuffers
import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from kerasft.export.clients import add_metadata
from kerasft.export.tflite_file import in_float, packed, read_operations, unpacked

from kerasft import export


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """An int8 file with float edges."""
    path = tmp_path_factory.mktemp("files") / "model.tflite"
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(5, activation="softmax"),
        ]
    )
    images = np.random.default_rng(0).uniform(size=(20, 8, 8, 3)).astype("float32")
    export.to_tflite(model, path, precision="int8", representative_data=images)
    return path.read_bytes()


def read(content):
    """What every reader makes of a file."""
    report = str(export.readiness(content))
    in_float(read_operations(content))
    unpacked(content)
    with contextlib.suppress(ValueError):
        add_metadata(content, labels=["a"] * 5)
    return report


@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_operations_without_operands(content, side):
    whole = unpacked(content)
    assert read(content)
    refused = 0
    for number in range(len(whole.subgraphs[0].operators)):
        model = unpacked(content)
        setattr(model.subgraphs[0].operators[number], side, np.array([], "int32"))
        try:
            read(packed(model))
        except ValueError as error:
            refused += 1
            assert "file is" in str(error) and "damaged" in str(error)
    assert refused


def test_tensors_without_a_shape(content):
    for number in range(len(unpacked(content).subgraphs[0].tensors)):
        model = unpacked(content)
        model.subgraphs[0].tensors[number].shape = np.array([], "int32")
        model.subgraphs[0].tensors[number].shapeSignature = None
        with contextlib.suppress(ValueError):
            read(packed(model))


def test_mutations(content):
    """Byte by byte: this file's first part, which holds all but the weights, and its last."""
    rng = np.random.default_rng(0)
    errors = 0
    for _ in range(1500):
        damaged = np.frombuffer(content, "uint8").copy()
        places = rng.integers(8, len(damaged), rng.integers(1, 6))
        damaged[places] = rng.choice([0, 1, 127, 128, 255, *rng.integers(0, 256, 4)], len(places))
        try:
            read(damaged.tobytes())
        except ValueError as error:
            errors += 1
            assert "damaged" in str(error)
    assert errors > 100


def test_parts_that_overlap():
    """2000 subgraphs that are one, of 2000 operations that are one: four million in 20 kB."""
    builder = flatbuffers.Builder()

    def repeated(start, offset):
        start(builder, 2000)
        for _ in range(2000):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()

    schema.OperatorStart(builder)
    operators = repeated(schema.SubGraphStartOperatorsVector, schema.OperatorEnd(builder))
    schema.SubGraphStart(builder)
    schema.SubGraphAddOperators(builder, operators)
    subgraphs = repeated(schema.ModelStartSubgraphsVector, schema.SubGraphEnd(builder))
    schema.OperatorCodeStart(builder)
    code = schema.OperatorCodeEnd(builder)
    schema.ModelStartOperatorCodesVector(builder, 1)
    builder.PrependUOffsetTRelative(code)
    codes = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, subgraphs)
    schema.ModelAddOperatorCodes(builder, codes)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    content = bytes(builder.Output())
    assert len(content) < 20_000
    with pytest.raises(ValueError, match="its parts overlap"):
        read_operations(content)


def test_what_is_no_file(tmp_path):
    with pytest.raises(ValueError, match="lacks the mark"):
        export.readiness(b"")
    with pytest.raises(ValueError, match="is no .tflite file, nor any other"):
        export.readiness(tmp_path)
    if os.name == "posix":
        os.mkfifo(tmp_path / "a.tflite")
        with pytest.raises(ValueError, match="nor any other"):
            export.readiness(tmp_path / "a.tflite")
    with pytest.raises(FileNotFoundError):
        export.readiness(tmp_path / "b.tflite")


def test_an_edge_without_its_operand_is_damage():
    operation = SimpleNamespace(
        name="QUANTIZE", inputs=(), outputs=(SimpleNamespace(dtype="float32", name="y"),)
    )
    with pytest.raises(ValueError, match="damaged: QUANTIZE lacks its input"):
        in_float((operation,))
