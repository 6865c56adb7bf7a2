"""What every artifact has to keep: differences, accuracies and the report."""

import dataclasses

import numpy as np
import pytest
from kerasft.export.report import (
    ExportError,
    Parity,
    Quality,
    Report,
    Speed,
    TensorInfo,
    compare,
    require,
)


def constant(value):
    return lambda named: {"y": np.array(value, "float32")}


def expected(*values):
    return [{"y": np.array(value, "float32")} for value in values]


def test_differences_are_measured():
    parity = compare(constant([2.002, 4.0]), [{}, {}], expected([2.0, 4.0], [2.0, 4.0]))
    assert parity.max_abs == pytest.approx(0.002, rel=1e-3)  # |2.002 - 2|
    assert parity.max_relative == pytest.approx(0.0005, rel=1e-3)  # 0.002 / 4
    # sqrt(0.002² / 2) / sqrt((2² + 4²) / 2) = 0.0014142 / 3.1623
    assert parity.rms_relative == pytest.approx(0.00044721, rel=1e-3)
    assert parity.samples == 2


def test_infinities_of_both_are_equal_and_those_of_one_are_not():
    assert compare(constant([-np.inf, 1.0]), [{}], expected([-np.inf, 1.0])).max_abs == 0
    for got in ([np.nan, 4.0], [np.inf, 4.0]):
        with pytest.raises(ExportError, match="not finite"):
            compare(constant(got), [{}], expected([2.0, 4.0]))


def test_what_is_not_finite_hides_nothing():
    """A mask of infinities makes no difference of other values small, and no NaN gets lost in a maximum."""
    parity = compare(constant([-np.inf, 5.0]), [{}], expected([-np.inf, 2.0]))
    assert (parity.max_abs, parity.max_relative) == (3.0, 1.5)  # 5 - 2 and 3 / 2
    assert parity.rms_relative == pytest.approx(1.5)
    with pytest.raises(ExportError, match="'y' is not finite"):
        compare(constant([-np.inf, np.nan]), [{}], expected([-np.inf, 1.0]))
    parity = compare(constant([1.0, 2.0]), [{}], expected([-np.inf, 2.0]))  # the model alone has one
    assert parity.max_abs == parity.max_relative == parity.rms_relative == np.inf
    parity = compare(constant([1.0, np.nan]), [{}, {}], expected([1.0, np.nan], [1.0, np.nan]))
    for found in (parity.max_abs, parity.max_relative, parity.rms_relative):
        with pytest.raises(ExportError, match="is nan"):
            require(found, 10.0, "the difference", "")


def test_the_worst_output_counts_by_its_own_values():
    said = [{"big": np.array([[100.0, 0.0]]), "small": np.array([[0.0, 0.5]])}]
    parity = compare(
        lambda named: {"small": said[0]["small"] + [[0.0, 0.1]], "big": said[0]["big"] + 1}, [{}], said
    )
    assert parity.max_abs == 1.0  # of big
    assert parity.max_relative == pytest.approx(0.2)  # 0.1 / 0.5, of small; big has 1 / 100
    assert parity.rms_relative == pytest.approx(0.2)  # sqrt(0.01 / 2) / sqrt(0.25 / 2)
    zero = compare(constant([0.5]), [{}], expected([0.0]))
    assert (zero.max_abs, zero.max_relative, zero.rms_relative) == (0.5, 1.0, 1.0)
    assert compare(constant([0.0]), [{}], expected([0.0])).max_relative == 0


def test_missing_outputs_and_other_shapes_are_found():
    with pytest.raises(ExportError, match="outputs"):
        compare(lambda named: {"z": np.zeros(1)}, [{}], expected([0.0]))
    with pytest.raises(ExportError, match=r"outputs \['y', 'z'\], the model \['y'\]"):
        compare(lambda named: {"y": np.zeros(1), "z": np.zeros(1)}, [{}], expected([0.0]))
    with pytest.raises(ExportError, match=r"shape \(1,\), the model's \(2,\)"):
        compare(constant([1.0]), [{}], expected([1.0, 1.0]))


@pytest.mark.parametrize("found", [0.11, float("nan")])
def test_a_broken_contract_says_by_how_much(found):
    with pytest.raises(ExportError, match=r"the drop is .*; allowed is 0.1\. Nothing was written\. Do this"):
        require(found, 0.1, "the drop", "Do this.")
    require(0.1, 0.1, "the drop", "Do this.")


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


def test_report_round_trip():
    report = Report(
        path="a.tflite", precision="int8", io="int8", made_by="converter", size_bytes=7, sha256="0" * 64,
        inputs=(TensorInfo("x", (1, 2), "int8", 0.5, -3),), outputs=(TensorInfo("y", (-1, 3), "float32"),),
        operations={"CONV_2D": 2}, dtypes={"float32": 3}, labels=("a", "b", "c"), input_range=(0.0, 255.0),
        normalization=((1.0, 2.0, 3.0), 4.0), preprocessing="none", metadata=True,
        parity=Parity(1e-6, 1e-7, 1e-8, 16), quality=Quality(9, 1.0, 0.5, 0.4, 0.1, (0.0, 0.2)),
        speed=Speed({"1": 2.0, "2": 1.5}, 1, 0), versions={"keras": "3"},
    )  # fmt: skip
    assert Report.from_json(report.to_json()) == report
    assert (report.accuracy_model, report.accuracy_file) == (0.5, 0.4)
    bare = dataclasses.replace(report, quality=None, labels=None, input_range=None, normalization=None)
    assert Report.from_json(bare.to_json()) == bare and bare.accuracy_file is None
