"""A file is held against its model: differences as numbers, and a limit that they keep."""

import numpy as np
import pytest
from kerasft.export.errors import ExportError
from kerasft.export.parity import Comparison, compare, require


def constant(value):
    return lambda named: {"y": np.array(value, "float32")}


def expected(*values):
    return [{"y": np.array(value, "float32")} for value in values]


def compared(*arguments):
    return compare(*arguments).parity


def test_differences_are_measured():
    parity = compared(constant([2.002, 4.0]), [{}, {}], expected([2.0, 4.0], [2.0, 4.0]))
    assert parity.max_abs == pytest.approx(0.002, rel=1e-3)  # |2.002 - 2|
    assert parity.max_relative == pytest.approx(0.0005, rel=1e-3)  # 0.002 / 4
    # sqrt(0.002² / 2) / sqrt((2² + 4²) / 2) = 0.0014142 / 3.1623
    assert parity.rms_relative == pytest.approx(0.00044721, rel=1e-3)
    assert parity.samples == 2


def test_infinities_of_both_are_equal_and_those_of_one_are_not():
    assert compared(constant([-np.inf, 1.0]), [{}], expected([-np.inf, 1.0])).max_abs == 0
    for got in ([np.nan, 4.0], [np.inf, 4.0]):
        with pytest.raises(ExportError, match="not finite"):
            compare(constant(got), [{}], expected([2.0, 4.0]))


def test_what_is_not_finite_hides_nothing():
    """A mask of infinities makes no difference of other values small, and no NaN gets lost in a maximum."""
    parity = compared(constant([-np.inf, 5.0]), [{}], expected([-np.inf, 2.0]))
    assert (parity.max_abs, parity.max_relative) == (3.0, 1.5)  # 5 - 2 and 3 / 2
    assert parity.rms_relative == pytest.approx(1.5)
    with pytest.raises(ExportError, match="'y' is not finite where the model's is, for sample 0"):
        compare(constant([-np.inf, np.nan]), [{}], expected([-np.inf, 1.0]))
    parity = compared(constant([1.0, 2.0]), [{}], expected([-np.inf, 2.0]))  # the model alone has one
    assert parity.max_abs == parity.max_relative == parity.rms_relative == np.inf
    parity = compared(constant([1.0, np.nan]), [{}, {}], expected([1.0, np.nan], [1.0, np.nan]))
    for found in (parity.max_abs, parity.max_relative, parity.rms_relative):
        with pytest.raises(ExportError, match="is nan"):
            require(found, 10.0, "the difference", "")


def test_the_worst_output_counts_by_its_own_values():
    said = [{"big": np.array([[100.0, 0.0]]), "small": np.array([[0.0, 0.5]])}]
    parity = compared(
        lambda named: {"small": said[0]["small"] + [[0.0, 0.1]], "big": said[0]["big"] + 1}, [{}], said
    )
    assert parity.max_abs == 1.0  # of big
    assert parity.max_relative == pytest.approx(0.2)  # 0.1 / 0.5, of small; big has 1 / 100
    assert parity.rms_relative == pytest.approx(0.2)  # sqrt(0.01 / 2) / sqrt(0.25 / 2)
    zero = compared(constant([0.5]), [{}], expected([0.0]))
    assert (zero.max_abs, zero.max_relative, zero.rms_relative) == (0.5, 1.0, 1.0)
    assert compared(constant([0.0]), [{}], expected([0.0])).max_relative == 0


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


def test_columns_are_found_along_both_axes_of_three():
    """Boxes to 640 and scores to 1 of 16 places, by place and by kind, in steps of 640 / 255."""
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.uniform(0, 640, (60, 16, 4)), rng.uniform(0, 1, (60, 16, 2))], 2)
    made = np.round(values / 640 * 255) / 255 * 640

    def lost(values, made, producer=""):
        found = Comparison({"y": producer})
        for place, (value, other) in enumerate(zip(values, made, strict=True)):
            found.add({"y": other[None]}, {"y": value[None]}, place)
        return [(part.axis, part.columns) for part in found.lost(0.7)], found.parity.column_relative

    assert lost(values, made)[0] == [(-1, (4, 5))]
    found, worst = lost(values.transpose(0, 2, 1), made.transpose(0, 2, 1))
    assert found == [(1, (4, 5))] and worst == pytest.approx(1, abs=0.3)
    shares = values[..., :4] / values[..., :4].sum(2, keepdims=True)  # of one unit, whatever the place
    assert lost(shares * 1, np.round(shares * 255) / 255)[0] == []
