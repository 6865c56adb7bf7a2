"""The quantizer under its new and its old name: which is found, which is used, and what reports say."""

import importlib.metadata
import sys

import numpy as np
import pytest
from kerasft.export.conversion import quantizer as module
from kerasft.export.conversion.process import saved
from kerasft.export.conversion.variants import Variants
from kerasft.export.tflite_file.operations import read_operations
from quantizers import NAMES, quantizer_name
from small_models import classifier, fitted, images

from kerasft import export


@pytest.fixture(scope="module")
def model():
    return fitted(classifier())


@pytest.mark.parametrize(
    ("installed", "found"),
    [
        (["litert-quantizer"], "litert-quantizer"),
        (["ai-edge-quantizer"], "ai-edge-quantizer"),
        (["ai-edge-quantizer", "litert-quantizer"], "litert-quantizer"),
        ([], None),
    ],
)
def test_both_names_are_found_and_the_new_one_first(monkeypatch, installed, found):
    def version(name):
        if name in installed:
            return "1"
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(module.importlib.metadata, "version", version)
    assert module.installed_quantizer() == found


def test_what_is_installed_here_is_found():
    assert module.installed_quantizer() == quantizer_name()
    assert set(module.QUANTIZERS) == set(NAMES.values())


@pytest.mark.parametrize("precision", ["float16", "dynamic", "weight_only", "int8"])
def test_reports_name_the_quantizer_that_was_used(model, tmp_path, precision):
    report = export.to_tflite(
        model, tmp_path / "m.tflite", precision=precision, representative_data=images(), holdout=images(40, 1)
    )
    name = quantizer_name()
    assert report.made_by == name
    assert report.versions[name.replace("-", "_")] == importlib.metadata.version(name)
    assert not {n.replace("-", "_") for n in set(NAMES.values()) - {name}} & set(report.versions)
    assert name in report.to_json() and export.Report.from_json(report.to_json()) == report


def test_the_same_file_is_made_under_the_other_name(model, monkeypatch):
    """What one package makes, the other one makes to the byte, where only the import name differs."""
    (here,) = (m for m, name in NAMES.items() if name == quantizer_name())
    with saved(model, 1) as folder:
        content = Variants(folder, None).float32
    expected = module.quantized(content, "weight_only", "float", quantizer_name())
    kept = {name: part for name, part in sys.modules.items() if name.split(".")[0] == here}
    other = next(m for m in NAMES if m != here)
    for name, part in kept.items():
        monkeypatch.setitem(sys.modules, name.replace(here, other, 1), part)
    assert module.quantized(content, "weight_only", "float", NAMES[other]) == expected
    stored = [t for o in read_operations(expected) for t in o.inputs if t.constant and len(t.shape) == 4]
    assert {t.dtype for t in stored} == {"int8"}


def test_ranges_are_the_least_and_the_greatest_value(model):
    x, _ = images(24)
    with saved(model, 1) as folder:
        content = Variants(folder, None).float32
    ranges = module.measured_ranges(content, [{"image": row[None]} for row in x], quantizer_name())
    taken = [r for name, r in ranges.items() if "image" in name]
    assert len(taken) == 1
    np.testing.assert_allclose(np.ravel(taken[0]["min"]), [x.min()], rtol=1e-6)
    np.testing.assert_allclose(np.ravel(taken[0]["max"]), [x.max()], rtol=1e-6)


def test_without_a_quantizer_the_extra_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setattr("kerasft.export.conversion.variants.installed_quantizer", lambda: None)
    with pytest.raises(export.ExportError, match=r'litert-quantizer.*pip install "kerasft\[quantize\]"'):
        export.to_tflite(model, tmp_path / "m.tflite", precision="weight_only")
    assert not list(tmp_path.iterdir())
