"""Readiness by running and compiling: what each row says is what the runtime or the compiler does."""

import importlib.util
import os
import re
from importlib.metadata import version

import pytest
from kerasft.export import device_readiness as module
from kerasft.export.errors import ExportError
from kerasft.export.tflite_file import packed, read_operations, unpacked
from kerasft.export.toolchains import xnnpack
from small_models import classifier, fitted
from toolchain_files import exported, odd_model

from kerasft import export

MICRO = importlib.util.find_spec("tflite_micro") is not None
VELA = importlib.util.find_spec("ethosu") is not None


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, model = tmp_path_factory.mktemp("files"), fitted(classifier())
    odd = exported(folder, "float32", "float", model=odd_model(), name="odd")
    reports = [exported(folder, *kind, model=model) for kind in (("int8", "int8"), ("int8", "float"))]
    return [r.read_file() for r in (*reports, odd)]


def test_without_targets_all_is_read_in_documents(files):
    found = export.readiness(files[0])
    assert set(found.refusals) == set(found.evidence) == {"edgetpu", "gpu", "xnnpack"}
    assert {e.kind for e in found.evidence.values()} == {"read in a document"}
    assert "read in a document: Coral" in str(found)


@pytest.mark.process
def test_xnnpack_is_what_litert_does(files):
    """The rules of the documents are held against LiteRT elsewhere; here both agree on these files."""
    for content in files:
        ran, read = export.readiness(content, targets=["xnnpack"]), export.readiness(content)
        assert ran.refusals["xnnpack"] == read.refusals["xnnpack"]
        assert str(ran.evidence["xnnpack"]) == f"run: LiteRT {version('ai-edge-litert')}"
        assert ran.refusals["gpu"] == read.refusals["gpu"] and ran.evidence["gpu"] == read.evidence["gpu"]


@pytest.mark.process
@pytest.mark.skipif(not MICRO, reason="no wheel of tflite-micro")
def test_micro_is_what_tflite_micro_does(files):
    whole, edges, odd = (export.readiness(content, targets=["micro"]) for content in files)
    assert whole.refusals["micro"] == edges.refusals["micro"] == () and whole.share("micro") == 1
    assert {(r.operation, r.reason) for r in odd.refusals["micro"]} == {
        (name, "TFLite Micro has no such operation") for name in ("TOPK_V2", "SIGN")
    }
    operations = read_operations(files[2])
    assert all(operations[r.position].name == r.operation for r in odd.refusals["micro"])
    assert re.fullmatch(r"run: TFLite Micro 0\.dev\d+.*", str(whole.evidence["micro"]))


@pytest.mark.process
@pytest.mark.skipif(not VELA, reason="no wheel of ethos-u-vela")
def test_an_npu_is_what_vela_compiles(files):
    targets = ["ethos-u55-128", "ethos-u85-256"]
    whole, edges, odd = (export.readiness(content, targets=targets) for content in files)
    assert whole.refusals["ethos-u55-128"] == whole.refusals["ethos-u85-256"] == ()
    assert [(r.operation, r.position) for r in edges.refusals["ethos-u55-128"]] == [
        ("QUANTIZE", 0), ("DEQUANTIZE", edges.operations - 1),
    ]  # fmt: skip
    assert "Float32" in edges.refusals["ethos-u55-128"][0].reason
    assert odd.share("ethos-u55-128") == 0
    assert str(odd.evidence["ethos-u85-256"]) == f"compiled: Vela {version('ethos-u-vela')}"
    table = str(edges)
    assert "ethos-u55-128" in table and "compiled: Vela" in table


@pytest.mark.process
def test_what_crashes_or_refuses_the_whole_file_is_a_row_too(files, monkeypatch, tmp_path):
    (tmp_path / "crashing.py").write_text("import os; os.abort()")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setattr(xnnpack, "_MODULE", "crashing")
    found = export.readiness(files[0], targets=["xnnpack"])
    assert found.share("xnnpack") == 0
    assert {r.reason for r in found.refusals["xnnpack"]} == {
        "LiteRT's process ended by itself (exit status -6)"
    }

    def refuse(*_):
        raise ExportError("Vela 5 does not compile the file")

    monkeypatch.setattr(module, "check_ethos_u", lambda: None)
    monkeypatch.setattr(module, "built_from", refuse)
    monkeypatch.setattr(module, "version", lambda name: "5")
    found = export.readiness(files[0], targets=["ethos-u55-64"])
    assert found.share("ethos-u55-64") == 0 and "does not compile" in str(found)


@pytest.mark.process
def test_bodies_of_loops_keep_the_verdict_of_the_documents(files, monkeypatch):
    """LiteRT lists the operations of the main graph alone."""
    read = export.readiness(files[2])
    places = [r.position for r in read.refusals["xnnpack"]]
    monkeypatch.setattr(module, "xnnpack_leaves", lambda content: ([0], places[-1]))
    found = export.readiness(files[2], targets=["xnnpack"])
    assert [r.position for r in found.refusals["xnnpack"]] == sorted({0, places[-1]})
    assert found.refusals["xnnpack"][-1].reason == read.refusals["xnnpack"][-1].reason
    assert found.refusals["xnnpack"][0].reason == "left to LiteRT's kernel"


@pytest.mark.process
@pytest.mark.skipif(not VELA, reason="no wheel of ethos-u-vela")
def test_tensors_that_vela_has_renamed_hide_nothing(files, monkeypatch):
    real = module.built_from

    def renamed(content, accelerator):
        built, made = real(content, accelerator)
        return built, made.replace(b"_dequant", b"_renamed")

    monkeypatch.setattr(module, "built_from", renamed)
    found = export.readiness(files[1], targets=["ethos-u55-128"]).refusals["ethos-u55-128"]
    assert [r.operation for r in found] == ["QUANTIZE", "DEQUANTIZE"]
    assert {r.reason for r in found} == {"1 of these are left to the CPU"}


@pytest.mark.process
def test_a_file_that_litert_refuses_is_a_row_too(files):
    model = unpacked(files[0])
    code = model.operatorCodes[0]
    code.builtinCode = code.deprecatedBuiltinCode = 32  # CUSTOM
    code.customCode = "NoSuchOperation"
    found = export.readiness(packed(model), targets=["xnnpack"])
    assert found.share("xnnpack") == 0 and "NoSuchOperation" in found.refusals["xnnpack"][0].reason


def test_mistakes_are_told(files, monkeypatch):
    for targets in (["toaster"], "micro"):
        with pytest.raises(ValueError, match=r"targets are names out of xnnpack, micro, ethos-u55-32"):
            export.readiness(files[0], targets=targets)
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name in ("tflite_micro", "ethosu") else real(name),
    )
    for target, extra in (("micro", "micro"), ("ethos-u55-128", "ethos-u")):
        with pytest.raises(ImportError, match=rf'pip install "kerasft\[{extra}\]"'):
            export.readiness(files[0], targets=[target])
