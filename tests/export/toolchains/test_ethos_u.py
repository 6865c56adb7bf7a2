"""Files go through Arm's Vela, and its numbers and what it leaves to the CPU are read right."""

import importlib.util
import re
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version

import pytest
from kerasft.export.tflite_file import read_operations
from kerasft.export.toolchains import ethos_u as module
from kerasft.export.toolchains.ethos_u import ACCELERATORS, compile_for_ethos_u
from small_models import classifier, fitted
from toolchain_files import exported

from kerasft import export

pytest.importorskip("ethosu.vela", reason="ethos-u-vela has no wheel for this Python")


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder, model = tmp_path_factory.mktemp("files"), fitted(classifier())
    kinds = [("int8", "int8"), ("int8", "float"), ("float32", "float")]
    return {kind: exported(folder, *kind, model=model) for kind in kinds}


def by_the_command(report, accelerator, folder):
    """What Vela itself prints, with its own defaults."""
    command = [sys.executable, "-m", "ethosu.vela", report.path, "--output-dir", folder]
    command += ["--accelerator-config", accelerator, "--verbose-cycle-estimate"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True)
    return done.stdout


def number(pattern, text):
    found = re.search(pattern + r"\s+(?:= )?([\d.]+)", text)
    return float(found[1]) if found else 0.0  # Vela leaves out memory that is not used


@pytest.mark.process
@pytest.mark.parametrize("kind", [("int8", "int8"), ("int8", "float"), ("float32", "float")])
@pytest.mark.parametrize("accelerator", ["ethos-u55-128", "ethos-u65-256", "ethos-u85-512"])
def test_the_numbers_are_velas(reports, kind, accelerator, tmp_path):
    report = reports[kind]
    if kind != ("int8", "int8") and accelerator != "ethos-u55-128":
        return
    found = compile_for_ethos_u(report, accelerator)
    said = by_the_command(report, accelerator, tmp_path)
    assert sum(found.on_cpu.values()) == number("CPU operators", said)
    assert found.sram_bytes == pytest.approx(1024 * number("Total SRAM used", said), abs=6)
    assert found.flash_bytes == pytest.approx(1024 * number("Total Off-chip Flash used", said), abs=6)
    assert found.dram_bytes == pytest.approx(1024 * number("Total DRAM used", said), abs=6)
    assert found.cycles == number("Total cycles", said) and found.macs == number("Neural network macs", said)
    assert found.clock_hz == 1e6 * number("Accelerator clock", said)
    assert found.ms == pytest.approx(number("Batch Inference time", said), abs=0.006)
    assert found.system_config in said and found.memory_mode in said
    assert found.version == version("ethos-u-vela") and found.accelerator == accelerator


@pytest.mark.process
def test_the_share_counts_the_files_own_operations(reports):
    whole, edges, floats = (compile_for_ethos_u(report) for report in reports.values())
    assert whole.share == 1 and whole.on_cpu == {} and "(100 %)" in str(whole)
    assert edges.on_cpu == {"QUANTIZE": 1, "DEQUANTIZE": 1} and edges.operations == whole.operations + 2
    assert edges.share == pytest.approx(1 - 2 / edges.operations)
    assert any("Float32" in why for why in edges.reasons.values()) and len(edges.reasons) == 2
    assert floats.share == 0 and sum(floats.on_cpu.values()) == floats.operations


@pytest.mark.process
def test_the_compiled_file_is_kept_on_request(reports, tmp_path):
    report, path = reports["int8", "int8"], tmp_path / "compiled.tflite"
    found = compile_for_ethos_u(report, "ethos-u55-256", path=path)
    content = path.read_bytes()
    assert found.path == str(path) and found.size_bytes == len(content)
    assert [o.name for o in read_operations(content)] == ["ethos-u"]
    assert report.read_file()  # the exported one is as it was
    with pytest.raises(FileExistsError, match="exists"):
        compile_for_ethos_u(report, path=path)
    assert path.read_bytes() == content
    again = compile_for_ethos_u(report, "ethos-u55-32", path=path, overwrite=True)
    assert path.read_bytes() != content and again.cycles > found.cycles  # an eighth of the multipliers
    assert [p.name for p in tmp_path.iterdir()] == ["compiled.tflite"]


@pytest.mark.process
def test_systems_and_memory_modes_are_velas(reports):
    report = reports["int8", "int8"]
    slow = compile_for_ethos_u(report, system_config="Ethos_U55_Deep_Embedded", memory_mode="Sram_Only")
    assert slow.clock_hz == 200e6 and slow.memory_mode == "Sram_Only"
    with pytest.raises(export.ExportError, match=r"Vela .* does not compile .*Nowhere"):
        compile_for_ethos_u(report, system_config="Nowhere")


def test_the_accelerators_are_all_that_vela_has():
    from ethosu.vela.architecture_features import Accelerator

    assert sorted(ACCELERATORS) == sorted(Accelerator.member_list())


def test_mistakes_are_told(reports, tmp_path, monkeypatch):
    report = reports["int8", "int8"]
    with pytest.raises(TypeError, match=r"takes the Report.*str"):
        compile_for_ethos_u(report.path)
    with pytest.raises(ValueError, match=r"one of ethos-u55-32, .*received 'ethos-u99'"):
        compile_for_ethos_u(report, "ethos-u99")
    for path in (tmp_path / "m.bin", report.path):
        with pytest.raises(ValueError, match=r"ends in \.tflite, and is not the exported"):
            compile_for_ethos_u(report, path=path, overwrite=True)
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        compile_for_ethos_u(report, path=tmp_path / "none" / "m.tflite")
    with pytest.raises(export.ExportError, match="changed since its export"):
        compile_for_ethos_u(replace(report, sha256="0" * 64))
    real = importlib.util.find_spec
    monkeypatch.setattr(
        module.importlib.util, "find_spec", lambda name: None if name == "ethosu" else real(name)
    )
    with pytest.raises(ImportError, match=r'pip install "kerasft\[ethos-u\]"'):
        compile_for_ethos_u(report)
    assert not list(tmp_path.iterdir())
