"""A report: accuracies with their interval, and JSON there and back."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
from kerasft.export.errors import ExportError
from kerasft.export.parity import Parity
from kerasft.export.report import Quality, Report, Speed, TensorInfo, check_labels, check_pixels


def test_the_interval_of_a_drop_is_that_of_matched_proportions():
    truth = np.zeros(100, int)
    model, file = truth.copy(), truth.copy()
    file[:12] = 1  # b = 12: the model alone is right
    model[20:25] = 1  # c = 5: the file alone is
    quality = Quality.of(model, file, truth)
    assert (quality.samples, quality.accuracy_model, quality.accuracy_file) == (100, 0.95, 0.88)
    assert quality.agreement == pytest.approx(0.83) and quality.drop == pytest.approx(0.07)
    # 7 / 102 = 0.068627; sqrt(12.5 + 5.5 - 49 / 102) = 4.185697; 1.959964 * 4.185697 / 102 = 0.080430
    assert quality.interval == pytest.approx((-0.011803, 0.149057), abs=2e-5)


def test_the_interval_covers_the_true_drop():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(500):
        truth = np.zeros(300, int)
        model = (rng.uniform(size=300) < 0.10).astype(int)
        flipped = rng.uniform(size=300) < 0.05
        file = np.where(flipped, 1 - model, model)  # the drop: 0.05 * 0.90 - 0.05 * 0.10 = 0.04
        low, high = Quality.of(model, file, truth).interval
        hits += low <= 0.04 <= high
    assert hits >= 0.93 * 500


def test_a_hundred_samples_cannot_certify_a_point():
    same = np.zeros(100, int)
    low, high = Quality.of(same, same, same).interval
    assert high > 0.01 and low < -0.01
    same = np.zeros(2000, int)
    assert Quality.of(same, same, same).interval[1] < 0.01


def test_with_several_labels_a_sample_counts_by_its_share():
    truth = np.array([[1, 0], [1, 1], [0, 0], [0, 1]])
    model, file = truth.copy(), truth.copy()
    file[0, 0] = file[1, 0] = 0  # b: two halves
    model[3, 1] = 0  # c: one half
    quality = Quality.of(model, file, truth, "labels")
    assert (quality.accuracy_model, quality.accuracy_file, quality.drop) == (7 / 8, 6 / 8, 1 / 8)
    assert quality.label_drops == (0.5, -0.25) and quality.agreement == 5 / 8
    # 0.5 / 6 = 0.083333; sqrt(0.75 + 1 - 0.25 / 6) = 1.307032; 1.959964 * 1.307032 / 6 = 0.426956
    assert quality.interval == pytest.approx((-0.343623, 0.510289), abs=2e-5)
    alone = Quality.of(model[:, 0], file[:, 0], truth[:, 0])
    assert alone.drop == quality.label_drops[0] and alone.label_drops == ()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "b\nc", "d"], r"label 1 is 'b\\nc'"),
        (["a", "b", "c\r"], "label 2"),
        (["a", "b\u2028c", "d"], "without line breaks and NULs; label 1"),
        (["a", "b\x00", "c"], "without line breaks and NULs; label 1"),
        ([" a", "b", "c"], "neither begin nor end with blanks.*label 0 is ' a'"),
        (["a", "b\u00a0", "c"], "label 1"),
        (["a", "", "c"], "none of them empty; label 1"),
        (["a", "b", "b"], "unique; label 2 is 'b', and so is label 1"),
        (["a", 1, "c"], "label 1 is 1, of int"),
        (["a", None, "c"], "label 1 is None"),
        (["a", b"b", "c"], "of bytes"),
        (["a", "\ud800", "c"], "UTF-8.*label 1"),
        ("abc", "list of names; received 'abc'"),
        ({"a", "b", "c"}, "list of names"),  # without an order
        (3, "list of names; received 3"),
        (["a", "b"], "2 labels, but the model has 3 outputs"),
    ],
)
def test_labels_are_lines_of_a_file(labels, message):
    with pytest.raises(ValueError, match=message):
        check_labels(labels, 3)


def test_labels_of_every_language_are_fine():
    assert check_labels(np.array(["Äpfel", "汉 字", "c,d"]), 3) == ("Äpfel", "汉 字", "c,d")
    assert check_labels(["no", "yes"], 1, pair=True) == ("no", "yes")
    assert check_labels(["yes"], 1, pair=True) == ("yes",)
    with pytest.raises(
        ValueError, match=r"2 labels, but the model has 1 outputs. .*give that of 1 alone, or end"
    ):
        check_labels(["no", "yes"], 1)
    with pytest.raises(ValueError, match="2 labels, but the model has 1 outputs"):
        check_labels(["no", "yes"], 1)
    assert check_labels([], None) == ()


REPORT = Report(
    path="a.tflite", precision="int8", io="int8", made_by="converter", size_bytes=7, sha256="0" * 64,
    inputs=(TensorInfo("x", (1, 2), "int8", 0.5, -3),), outputs=(TensorInfo("y", (-1, 3), "float32"),),
    operations={"CONV_2D": 2}, dtypes={"float32": 3}, labels=("a", "b", "c"), input_range=(0.0, 255.0),
    normalization=((1.0, 2.0, 3.0), 4.0), preprocessing="none", metadata=True,
    parity=Parity(1e-6, 1e-7, 1e-8, 16), quality=Quality(9, 1.0, 0.5, 0.4, 0.1, (0.0, 0.2)),
    speed=Speed({"1": 2.0, "2": 1.5}, 1, 0), versions={"keras": "3"},
)  # fmt: skip


def test_report_round_trip():
    assert Report.from_json(REPORT.to_json()) == REPORT
    assert (REPORT.accuracy_model, REPORT.accuracy_file) == (0.5, 0.4)
    bare = dataclasses.replace(REPORT, quality=None, labels=None, input_range=None, normalization=None)
    assert Report.from_json(bare.to_json()) == bare and bare.accuracy_file is None


def test_the_rule_for_pixels_is_in_the_report():
    told = dataclasses.replace(REPORT, pixels={"resize": "antialias"})
    assert Report.from_json(told.to_json()) == told and REPORT.pixels is None
    earlier = json.loads(REPORT.to_json())
    del earlier["pixels"]  # as it was written before there was a rule
    assert Report.from_json(json.dumps(earlier)) == REPORT
    assert check_pixels(None) is None and check_pixels(told.pixels) == told.pixels
    for wrong in ("antialias", {"resize": 1}, ["resize"]):
        with pytest.raises(TypeError, match="pixels says in words"):
            check_pixels(wrong)


def test_the_file_is_given_only_as_it_was_exported(tmp_path):
    path = tmp_path / "a.tflite"
    report = dataclasses.replace(REPORT, path=str(path), sha256=hashlib.sha256(b"model").hexdigest())
    with pytest.raises(ExportError, match=r"a\.tflite is not there\. Export it again"):
        report.read_file()
    path.write_bytes(b"another")
    with pytest.raises(ExportError, match=r"a\.tflite was changed since its export.* Export it again"):
        report.read_file()
    path.write_bytes(b"model")
    assert report.read_file() == b"model"
