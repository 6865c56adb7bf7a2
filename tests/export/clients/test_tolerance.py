"""Tolerances of golden outputs: what the arithmetic warrants, and what kernels differ by."""

import dataclasses
import doctest

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from kerasft.export.clients import tolerance as module
from kerasft.export.clients.tolerance import allowed_difference, steps_of_floats
from kerasft.export.errors import ExportError
from kerasft.export.report import TensorInfo

FLOAT = TensorInfo("y", (1, 2), "float32")
INT8 = TensorInfo("y", (1, 2), "int8", scale=0.5, zero_point=-100)
CLASS = TensorInfo("y", (1, 1), "int64")


def pair(golden, other, dtype="float32"):
    return np.array(golden, dtype), np.array(other, dtype)


@pytest.mark.parametrize(
    ("tensor", "precision", "pairs", "step", "expected"),
    [
        # 1e-4 of the largest magnitude of all cases, 8
        (FLOAT, "float32", [pair([1, 2], [1, 2]), pair([-8, 0], [-8, 0])], None, (8e-4, 0)),
        (FLOAT, "float16", [pair([8], [8])], None, (8e-4, 0)),
        (FLOAT, "weight_only", [pair([8], [8])], None, (8e-4, 0)),
        # activations rounded on the way: 5e-2 of 8
        (FLOAT, "dynamic", [pair([8], [8])], None, (0.4, 0)),
        (FLOAT, "int8", [pair([8], [8])], None, (0.4, 0)),
        # a float that is an integer dequantized: two of its steps
        (FLOAT, "int8", [pair([8], [8])], 0.03, (0.06, 0)),
        # zero in all cases: as if the largest were 1
        (FLOAT, "float32", [pair([0], [0])], None, (1e-4, 0)),
        (INT8, "int8", [pair([-100, 27], [-100, 28], "int8")], None, (2, 1)),
        # kernels that differ by 3 steps in one case: twice that
        (INT8, "int8", [pair([0], [0], "int8"), pair([20], [17], "int8")], None, (6, 3)),
        (INT8, "int8", [pair([20], [17], "int8"), pair([0], [0], "int8")], None, (6, 3)),
        # twice 0.5 is above 1e-4 of 8
        (FLOAT, "float32", [pair([8], [7.5])], None, (1, 0.5)),
        (CLASS, "int8", [pair([2], [2], "int64")], None, (0, 0)),
        (dataclasses.replace(CLASS, dtype="bool"), "float32", [pair([True], [True], "bool")], None, (0, 0)),
    ],
)
def test_tolerances_by_hand(tensor, precision, pairs, step, expected):
    assert allowed_difference(tensor, precision, pairs, step) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("tensor", "pairs"),
    [
        # twice 1.1 is above a quarter of 8
        (FLOAT, [pair([8], [6.9])]),
        # twice 17 steps is above a quarter of 127; -100 is the zero point
        (INT8, [pair([27], [10], "int8")]),
        # a class that depends on the kernels
        (CLASS, [pair([20], [19], "int64")]),
        (FLOAT, [pair([8], [np.nan])]),
    ],
)
def test_outputs_that_depend_on_the_kernels_are_refused(tensor, pairs):
    with pytest.raises(ExportError, match="'y' depends on the kernels.* differ by .* Leave out"):
        allowed_difference(tensor, "float32", pairs)


def test_a_quarter_is_where_the_limit_is():
    assert allowed_difference(FLOAT, "float32", [pair([8], [7])]) == (2, 1)
    assert allowed_difference(INT8, "int8", [pair([27], [12], "int8")]) == (30, 15)
    # two steps are always allowed, however small the golden values
    assert allowed_difference(INT8, "int8", [pair([-100], [-99], "int8")]) == (2, 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_golden_values_are_finite(bad):
    with pytest.raises(ExportError, match="'y' is not finite for the golden sample 1"):
        allowed_difference(FLOAT, "float32", [pair([1], [1]), pair([bad], [1])])


def test_the_example_runs():
    result = doctest.testmod(module, extraglobs={"np": np})
    assert result.attempted == 2 and result.failed == 0


@pytest.fixture(scope="module")
def kernels():
    return np.random.default_rng(0).normal(size=(8, 4)).astype("float32")


def convert(kernels, io):
    module = tf.Module()
    module.kernels = tf.Variable(kernels)

    @tf.function(input_signature=[tf.TensorSpec((1, 8), name="x")])
    def serve(x):
        logits = x @ module.kernels
        return {"scores": tf.nn.softmax(logits), "logits": logits}

    rows = np.random.default_rng(1).normal(size=(50, 1, 8)).astype("float32")
    converter = tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()], module)
    if io is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([row] for row in rows)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = io
    return converter.convert()


def test_steps_behind_float_outputs_are_those_of_the_integer_file(kernels):
    content = convert(kernels, tf.int8)
    details = Interpreter(model_content=content).get_signature_runner("serving_default").get_output_details()
    expected = {name: d["quantization"][0] for name, d in details.items()}
    assert expected["scores"] == 1 / 256 and expected["logits"] > 1 / 256
    assert steps_of_floats(convert(kernels, tf.float32), "serving_default") == expected


def test_files_without_such_outputs_have_no_steps(kernels):
    for io in (None, tf.int8):
        assert steps_of_floats(convert(kernels, io), "serving_default") == {}
