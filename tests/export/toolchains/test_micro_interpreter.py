"""Which operations TFLite Micro lacks, asked of the interpreter itself."""

from importlib.metadata import version

import numpy as np
import pytest
from kerasft.export.errors import ExportError
from kerasft.export.tflite_file import packed, unpacked
from kerasft.export.toolchains import micro_interpreter as module
from kerasft.export.toolchains.micro_interpreter import asked, in_a_line, micro_refusals
from toolchain_files import exported, odd_model

pytest.importorskip("tflite_micro", reason="tflite-micro has wheels for Linux on x86_64")


@pytest.mark.process
def test_all_missing_operations_are_named(tmp_path):
    report = exported(tmp_path, "float32", "float", model=odd_model())
    found, missing = micro_refusals(report.read_file())
    assert missing == dict.fromkeys(["TOPK_V2", "SIGN"], "TFLite Micro has no such operation")
    assert found.startswith(version("tflite-micro")) and set(missing) < set(report.operations)


@pytest.mark.process
def test_an_operation_that_can_not_run_gives_its_reason(tmp_path):
    _, refused = micro_refusals(exported(tmp_path, "dynamic", "float").read_file())
    assert list(refused) == ["CONV_2D"] and "Hybrid models" in refused["CONV_2D"]
    assert micro_refusals(exported(tmp_path).read_file())[1] == {}


@pytest.mark.process
def test_custom_operations_are_named_alone(tmp_path):
    model = unpacked(exported(tmp_path, "float32", "float").read_file())
    code = model.operatorCodes[1]
    code.builtinCode = code.deprecatedBuiltinCode = 32  # CUSTOM
    code.customCode = "NoSuchOperation"
    _, missing = micro_refusals(packed(model))
    assert missing == {"NoSuchOperation": "TFLite Micro has no such operation"}


@pytest.mark.process
def test_outputs_come_by_their_names(tmp_path):
    content = exported(tmp_path, "float32", "float").read_file()
    samples = [{"image": np.full((1, 8, 8, 3), value, "float32")} for value in (0, 200)]
    answer, outputs = asked([content], samples, (["image"], ["scores"]))
    assert answer["arena"] % 16 == 0 and [list(o) for o in outputs] == [["scores"], ["scores"]]
    assert [o["scores"].argmax() for o in outputs] == [0, 2]


@pytest.mark.process
def test_a_crash_is_an_error_with_its_last_words(monkeypatch, tmp_path):
    script = tmp_path / "crash.py"
    script.write_text("import os, sys; sys.stderr.write('bad tensor'); sys.stderr.flush(); os.abort()")
    monkeypatch.setattr(module, "_SCRIPT", script)
    with pytest.raises(ExportError, match=r"ended by itself .*exit status -6\): bad tensor"):
        micro_refusals(exported(tmp_path).read_file())


def test_words_lose_the_places_in_the_source():
    said = (
        "tensorflow/lite/micro/a.cc:41 x was not true.\nNode ADD failed.\n\nTFLM failed to allocate tensors"
    )
    assert in_a_line(said) == "x was not true; Node ADD failed"
