"""A file in LiteRT: called by names and in the model's units, counted in pieces, and quiet."""

import os
import warnings

import flatbuffers
import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from kerasft.export.errors import ExportError
from kerasft.export.report import TensorInfo
from kerasft.export.tflite_file.litert import LiteRTModel, dequantized, quantized, quiet
from small_models import classifier, fitted, images

from kerasft import export


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    export.ladder(fitted(classifier()), folder, holdout=images(40, 1), representative_data=images())
    return folder


def test_values_are_rounded_and_clipped():
    info = TensorInfo("x", (1, 4), "int8", 0.5, -3)
    # 0.3 / 0.5 - 3 = -2.4; 1.0 / 0.5 - 3 = -1; 100 / 0.5 - 3 = 197, above 127; -100 / 0.5 - 3 = -203
    got = quantized(np.array([[0.3, 1.0, 100.0, -100.0]], "float32"), info)
    assert got.dtype == np.int8 and got.tolist() == [[-2, -1, 127, -128]]
    assert dequantized(got, info).tolist() == [[0.5, 1.0, 65.0, -62.5]]  # (-2 + 3) * 0.5 …
    pixels = TensorInfo("x", (1, 4), "uint8", 1 / 128, 127)
    # 0.5 * 128 + 127 = 191; -1 * 128 + 127 = -1, below 0; 0.0101 * 128 + 127 = 128.29; 2 * 128 + 127 = 383
    got = quantized(np.array([[0.5, -1.0, 0.0101, 2.0]], "float32"), pixels)
    assert got.dtype == np.uint8 and got.tolist() == [[191, 0, 128, 255]]
    assert dequantized(got, pixels).tolist() == [[0.5, -127 / 128, 1 / 128, 1.0]]
    plain = TensorInfo("ids", (1, 2), "int32")
    assert quantized(np.array([[1.0, 2.0]]), plain).dtype == np.int32
    assert dequantized(np.array([3], "int32"), plain).tolist() == [3]


def test_outputs_go_by_name_whatever_their_order_in_the_file(tmp_path):
    inputs = keras.Input((4,), name="x")
    names = ["zeta", "alpha", "mid"]
    outputs = {name: keras.layers.Dense(2 + i, name=name)(inputs) for i, name in enumerate(names)}
    model = keras.Model(inputs, outputs)
    export.to_tflite(model, tmp_path / "m.tflite")
    plain = Interpreter(str(tmp_path / "m.tflite"))
    shapes = [tuple(d["shape"]) for d in plain.get_output_details()]
    assert shapes != [(1, 2), (1, 3), (1, 4)]  # not the model's own order
    x = np.arange(4, dtype="float32")[None]
    got = LiteRTModel(str(tmp_path / "m.tflite"))({"x": x})
    for name, value in model(x).items():
        np.testing.assert_allclose(got[name], value, atol=1e-6)


def test_pieces_of_xnnpack(folder):
    assert LiteRTModel(str(folder / "float32.tflite")).partitions == (1, 0)
    assert LiteRTModel(str(folder / "weight_only.tflite")).partitions == (1, 0)
    assert LiteRTModel(str(folder / "int8.tflite")).partitions == (2, 1)  # SOFTMAX stays outside
    pieces, outside = LiteRTModel(str(folder / "dynamic.tflite")).partitions
    assert pieces >= 2 and outside >= 1  # the depthwise convolution splits it


def test_latency_and_loading(folder, tmp_path):
    model = LiteRTModel(str(folder / "int8_io.tflite"), threads=2)
    assert 0 < model.latency_ms({"image": images(1)[0]}) < 1000
    (tmp_path / "a.tflite").write_bytes(b"nonsense")
    with pytest.raises(ExportError, match="LiteRT can't load"):
        LiteRTModel(str(tmp_path / "a.tflite"))


def test_quiet_hides_what_is_written_below_python_and_gives_it_back(capfd):
    with pytest.raises(KeyError), quiet():
        os.write(2, b"hidden")
        raise KeyError
    os.write(2, b"shown")
    assert capfd.readouterr().err == "shown"


def test_inputs_go_by_name(tmp_path):
    b, a = keras.Input((2,), name="b"), keras.Input((2,), name="a")
    outputs = keras.layers.Lambda(lambda pair: pair[0] - 2 * pair[1])([b, a])
    export.to_tflite(keras.Model([b, a], outputs), tmp_path / "m.tflite")
    model = LiteRTModel(str(tmp_path / "m.tflite"))
    got = model({"a": np.array([[1.0, 2.0]]), "b": np.array([[10.0, 20.0]])})
    assert next(iter(got.values())).tolist() == [[8.0, 16.0]]  # b - 2 a
    assert {t.name: (t.shape, t.dtype) for t in model.inputs} == {
        "a": ((1, 2), "float32"), "b": ((1, 2), "float32"),
    }  # fmt: skip


def test_an_int8_file_is_called_in_the_models_units(folder):
    """By hand, with the scales that the public interpreter says."""
    path = str(folder / "int8_io.tflite")
    runner = Interpreter(path).get_signature_runner("serving_default")
    (scale, zero), (unit, start) = (
        runner.get_input_details()["image"]["quantization"],
        runner.get_output_details()["scores"]["quantization"],
    )
    image = images(1)[0]
    raw = runner(image=np.clip(np.round(image / scale + zero), -128, 127).astype("int8"))["scores"]
    model = LiteRTModel(path)
    got = model({"image": image})["scores"]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, (raw.astype(float) - start) * unit, rtol=1e-6)
    assert (model.inputs[0].dtype, model.inputs[0].scale, model.inputs[0].zero_point) == ("int8", scale, zero)


def test_litert_still_has_the_private_name_that_pieces_are_counted_by(folder):
    """Interpreter._get_ops_details is not public: if this fails, look for what replaced it."""
    assert hasattr(Interpreter, "_get_ops_details"), "LiteRT dropped Interpreter._get_ops_details"
    interpreter = Interpreter(str(folder / "float32.tflite"))
    interpreter.allocate_tensors()
    nodes = interpreter._get_ops_details()
    assert all({"op_name", "inputs", "outputs"} <= set(node) for node in nodes)
    assert [node["op_name"] for node in nodes].count("DELEGATE") == 1


def test_a_file_without_the_signature_is_refused(folder, tmp_path):
    content = (folder / "float32.tflite").read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    model.signatureDefs = []
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    (tmp_path / "a.tflite").write_bytes(bytes(builder.Output()))
    with pytest.raises(ExportError, match=r"signatures are \[\], not serving_default"):
        LiteRTModel(str(tmp_path / "a.tflite"))


def test_quiet_hides_warnings_nests_and_leaves_nothing_open(capfd):
    before, target = len(os.listdir("/proc/self/fd")), os.fstat(2)
    with warnings.catch_warnings(action="error"):
        for _ in range(3):
            with quiet(), quiet():
                warnings.warn("an error, were it heard", stacklevel=1)
                os.write(2, b"hidden")
        assert len(os.listdir("/proc/self/fd")) == before
        assert os.path.samestat(os.fstat(2), target)
        assert capfd.readouterr().err == ""
        with pytest.raises(UserWarning):
            warnings.warn("heard again", stacklevel=1)


@pytest.mark.parametrize(("runs", "seconds", "calls"), [(5, 60.0, 5), (1, 60.0, 3), (9, 0.0, 3)])
def test_a_median_is_of_three_calls_at_least(folder, monkeypatch, runs, seconds, calls):
    model, made = LiteRTModel(str(folder / "float32.tflite")), []
    run = model._run
    monkeypatch.setattr(model, "_run", lambda **raw: made.append(0) or run(**raw))
    assert model.latency_ms({"image": images(1)[0]}, runs=runs, seconds=seconds) > 0
    assert len(made) == calls + 1  # the first one warms up


def test_a_signature_of_several_by_its_name(tmp_path):
    spec = tf.TensorSpec((1, 2), tf.float32, name="x")
    named = {"twice": tf.function(lambda x: {"y": 2 * x}), "thrice": tf.function(lambda x: {"y": 3 * x})}
    traced = {name: f.get_concrete_function(x=spec) for name, f in named.items()}
    tf.saved_model.save(tf.Module(), str(tmp_path / "saved"), signatures=traced)
    keys = list(named)
    content = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"), signature_keys=keys).convert()
    path = tmp_path / "a.tflite"
    path.write_bytes(content)
    for name, factor in (("twice", 2), ("thrice", 3)):
        got = LiteRTModel(str(path), signature=name)({"x": np.ones((1, 2))})
        assert got["y"].tolist() == [[factor, factor]]
    with pytest.raises(ExportError, match="not serving_default alone"):
        LiteRTModel(str(path))
    with pytest.raises(ExportError, match="Invalid signature_key"):
        LiteRTModel(str(path), signature="other")
