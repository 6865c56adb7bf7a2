"""The comparison that every artifact has to pass."""

import numpy as np
import pytest
from kerasft.export.contract import ExportError, LiteRTModel, Parity, Report, TensorInfo, compare


def constant(value):
    return lambda named: {"y": np.array(value, "float32")}


def test_differences_are_measured():
    # |2.002 - 2| = 0.002 absolute, 0.002 / 4 = 0.0005 of the largest value
    parity = compare(constant([2.002, 4.0]), constant([2.0, 4.0]), [{}, {}], tolerance=1e-3)
    assert parity.max_abs == pytest.approx(0.002, rel=1e-3)
    assert parity.max_relative == pytest.approx(0.0005, rel=1e-3)
    assert parity.samples == 2


@pytest.mark.parametrize(
    ("got", "message"),
    [([2.1, 4.0], "differs by 0.1"), ([np.nan, 4.0], "not finite"), ([np.inf, 4.0], "not finite")],
)
def test_a_broken_contract_says_by_how_much(got, message):
    with pytest.raises(ExportError, match=message):
        compare(constant(got), constant([2.0, 4.0]), [{}], tolerance=1e-3)


def test_missing_outputs_are_found():
    with pytest.raises(ExportError, match="outputs"):
        compare(lambda named: {"z": np.zeros(1)}, constant([0.0]), [{}], tolerance=1)


def test_what_is_no_model_is_refused(tmp_path):
    (tmp_path / "a.tflite").write_bytes(b"nonsense")
    with pytest.raises(ExportError, match="LiteRT"):
        LiteRTModel(str(tmp_path / "a.tflite"))


def test_report_round_trip():
    report = Report(
        path="a.tflite", precision="float32", size_bytes=7, sha256="0" * 64,
        inputs=(TensorInfo("x", (1, 2), "float32"),), outputs=(TensorInfo("y", (1, 3), "float32"),),
        dtypes={"float32": 3}, labels=("a", "b", "c"), input_range=(0.0, 255.0), preprocessing="none",
        parity=Parity(1e-6, 1e-7, 16), agreement=1.0, accuracy_model=0.5, accuracy_file=0.5,
        versions={"keras": "3"},
    )  # fmt: skip
    assert Report.from_json(report.to_json()) == report
