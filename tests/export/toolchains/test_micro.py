"""Files run in the real TFLite Micro interpreter, held against LiteRT; what it lacks is named."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from kerasft.export.tflite_file import packed, unpacked
from kerasft.export.toolchains import micro_interpreter as module
from kerasft.export.toolchains.micro import run_on_micro
from small_models import classifier, fitted, images
from toolchain_files import exported, odd_model

from kerasft import export

tflite_micro = pytest.importorskip("tflite_micro", reason="tflite-micro has wheels for Linux on x86_64")


@pytest.fixture(scope="module")
def model():
    return fitted(classifier())


@pytest.fixture(scope="module")
def reports(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    kinds = [("int8", "int8"), ("int8", "float"), ("float32", "float"), ("dynamic", "float")]
    kinds += [("weight_only", "float")]
    return {kind: exported(folder, *kind, model=model) for kind in kinds}


def in_litert(path, image, plain):
    """The raw output of LiteRT for an image in the units of the graph, by its tensors alone."""
    kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else OpResolverType.AUTO
    interpreter = Interpreter(path, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(taken["index"], stored(image, taken["quantization"], taken["dtype"]))
    interpreter.invoke()
    return interpreter.get_tensor(given["index"])


def stored(image, quantization, dtype):
    scale, zero = quantization
    if not scale:
        return image[None].astype(dtype)
    return np.clip(np.round(image[None] / scale + zero), -128, 127).astype(dtype)


def in_micro(path, image, arena=1 << 16):
    """The raw output of TFLite Micro, called directly."""
    interpreter = tflite_micro.runtime.Interpreter.from_file(str(path), arena_size=arena)
    details = interpreter.get_input_details(0)
    q = details["quantization_parameters"]
    scale = (float(q["scales"][0]), int(q["zero_points"][0])) if len(q["scales"]) else (0.0, 0)
    interpreter.set_input(stored(image, scale, details["dtype"]), 0)
    interpreter.invoke()
    return interpreter.get_output(0)


@pytest.mark.process
@pytest.mark.parametrize("kind", [("int8", "int8"), ("int8", "float"), ("float32", "float")])
def test_what_is_reported_is_what_both_interpreters_give(reports, kind):
    report = reports[kind]
    x, _ = images(8, 3)
    found = run_on_micro(report, x)
    micro = np.concatenate([in_micro(report.path, row) for row in x]).astype("float64")
    lite = np.concatenate([in_litert(report.path, row, plain=False) for row in x]).astype("float64")
    plain = np.concatenate([in_litert(report.path, row, plain=True) for row in x]).astype("float64")
    step = {"int8": 1.0, "float": 1 / 256}[kind[1]]  # of a softmax in int8
    if kind[0] == "int8":
        assert found.steps == {"scores": pytest.approx(np.abs(micro - lite).max() / step)}
        assert found.steps_plain == {"scores": pytest.approx(np.abs(micro - plain).max() / step)}
        assert found.steps["scores"] <= 10 and f"{found.steps['scores']:.3g} step" in str(found)
    else:
        assert found.steps == {} and "step" not in str(found)
    unit = 1 / 256 if kind == ("int8", "int8") else 1.0
    assert found.max_abs["scores"] == pytest.approx(np.abs(micro - lite).max() * unit)
    assert found.equal == pytest.approx(np.mean(micro == lite)) and found.samples == 8
    assert found.agreement == np.mean(micro.argmax(1) == lite.argmax(1)) >= 0.75
    assert found.version.split("-")[0] == version("tflite-micro") and found.litert == version(
        "ai-edge-litert"
    )


@pytest.mark.process
@pytest.mark.parametrize("kind", [("int8", "int8"), ("float32", "float")])
def test_the_arena_is_the_smallest_in_which_it_runs(reports, kind):
    report = reports[kind]
    x, _ = images(1, 3)
    found = run_on_micro(report, x)
    np.testing.assert_array_equal(in_micro(report.path, x[0], found.arena_bytes), in_micro(report.path, x[0]))
    code = "import sys; from tflite_micro import runtime; "
    code += "runtime.Interpreter.from_file(sys.argv[1], arena_size=int(sys.argv[2]))"
    for arena in (found.arena_bytes - 16, found.arena_bytes):  # where one is too small, it may crash
        done = subprocess.run([sys.executable, "-c", code, report.path, str(arena)], capture_output=True)
        assert (done.returncode == 0) == (arena == found.arena_bytes)


@pytest.mark.process
def test_inputs_are_made_up_where_none_are_given(reports):
    found = run_on_micro(reports["int8", "int8"])
    assert found.samples == 8 and found.steps["scores"] < 20


@pytest.mark.process
def test_several_inputs_and_outputs_go_by_their_names(tmp_path):
    """In a file whose own order is another one than that of the signature."""
    keras.utils.set_random_seed(0)
    inputs = {name: keras.Input((4,), name=name) for name in ("zebra", "ant")}
    x = keras.layers.Concatenate()([keras.layers.Dense(3)(inputs["zebra"]), inputs["ant"] * 5.0])
    outputs = [keras.layers.Dense(2, name="y")(x), keras.layers.Dense(5, name="a")(x)]
    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(0)
    data = {name: rng.normal(size=(40, 4)).astype("float32") for name in inputs}
    report = export.to_tflite(
        model, tmp_path / "m.tflite", precision="int8", io="int8", representative_data=data
    )
    found = run_on_micro(report, {name: value[:6] for name, value in data.items()})
    assert set(found.steps) == {o.name for o in report.outputs} and max(found.steps.values()) <= 2


@pytest.mark.process
def test_operations_that_are_missing_are_all_named(tmp_path):
    report = exported(tmp_path, "float32", "float", model=odd_model())
    with pytest.raises(
        export.ExportError, match=r"lacks operations of .*: TOPK_V2, SIGN\. Replace the layers"
    ):
        run_on_micro(report)


@pytest.mark.process
def test_what_it_can_not_prepare_is_told_in_its_words(reports):
    report = reports["dynamic", "float"]
    with pytest.raises(export.ExportError, match=r"does not run .*: Hybrid models are not supported"):
        run_on_micro(report)


@pytest.mark.process
def test_a_file_that_computes_something_else_there_is_refused(reports, tmp_path):
    """TFLite Micro's DEQUANTIZE takes the first scale of a weight for all of its channels."""
    report = reports["weight_only", "float"]
    x, _ = images(4, 3)
    given = in_micro(report.path, x[0])
    assert np.abs(given - in_litert(report.path, x[0], plain=False)).max() > 0.01
    model = unpacked(report.read_file())
    for tensor in model.subgraphs[0].tensors:
        if tensor.quantization is not None and tensor.quantization.scale is not None:
            tensor.quantization.scale = np.full_like(tensor.quantization.scale, tensor.quantization.scale[0])
    (tmp_path / "one_scale.tflite").write_bytes(packed(model))
    first = in_litert(str(tmp_path / "one_scale.tflite"), x[0], plain=False)
    np.testing.assert_allclose(given, first, atol=1e-5)
    with pytest.raises(export.ExportError, match=r"other values of 'scores'.*DEQUANTIZE takes one scale"):
        run_on_micro(report, x)


@pytest.mark.process
def test_a_crash_takes_nothing_else_with_it(reports, monkeypatch, tmp_path):
    script = tmp_path / "crash.py"
    script.write_text("import os, sys; sys.stderr.write('bad tensor'); sys.stderr.flush(); os.abort()")
    monkeypatch.setattr(module, "_SCRIPT", script)
    with pytest.raises(export.ExportError, match=r"ended by itself .*exit status -6\): bad tensor"):
        run_on_micro(reports["int8", "int8"])


def test_mistakes_are_told(reports, monkeypatch):
    report = reports["int8", "int8"]
    with pytest.raises(TypeError, match=r"takes the Report.*str"):
        run_on_micro(report.path)
    with pytest.raises(ValueError, match=r"golden 'image' has the shape"):
        run_on_micro(report, np.zeros((2, 9, 9, 3), "float32"))
    with pytest.raises(export.ExportError, match="changed since its export"):
        run_on_micro(replace(report, sha256="0" * 64))
    real = importlib.util.find_spec
    monkeypatch.setattr(
        module.importlib.util, "find_spec", lambda name: None if name == "tflite_micro" else real(name)
    )
    with pytest.raises(ImportError, match=r'pip install "kerasft\[micro\]".*Linux on x86_64'):
        run_on_micro(report)
