"""The choice among the precisions of a model, and their table."""

import dataclasses
import re

import pytest
from html_tables import unseen
from kerasft.export.ladder_choice import Ladder, choose
from ladder_reports import REPORTS, report


@pytest.mark.parametrize(
    ("limits", "choice", "reason"),
    [
        ((0.05,), "int8", "the smallest within the limits"),
        ((0.01,), "weight_only", "the fastest of weight_only, dynamic, .*int8 loses 3.0 points"),
        ((0.001,), "float16", "weight_only loses 0.5 points"),
        ((0.05, 239), "int8_io", "int8 has 240 bytes"),  # only where no other is left
        ((0.05, None, 9.0), "int8", "float32 takes 10.0 ms"),
        ((0.01, None, 9.0), None, "No variant keeps the limits: float32 takes 10.0 ms; .*int8 loses"),
    ],
)
def test_the_choice_is_the_smallest_within_the_limits(limits, choice, reason):
    found, why = choose(REPORTS, *limits)
    assert found == choice and re.search(reason, why)


def test_without_accuracies_size_and_time_decide_and_nothing_is_said_to_be_within_limits():
    why = {"quality": None, "not_measured": "the holdout has no labels"}
    bare = {name: dataclasses.replace(r, **why) for name, r in REPORTS.items()}
    found, reason = choose(bare, 0.0)
    assert found == "int8" and "within the limits" not in reason
    assert reason.endswith("Accuracy was not measured: the holdout has no labels.")
    with pytest.raises(ValueError, match=r'prefer="accuracy" needs measured .* the holdout has no labels'):
        choose(bare, 0.0, prefer="accuracy")


def ladder_of(**numbers):
    """Reports of (bytes, milliseconds, points lost)."""
    return {name: report(name, *given) for name, given in numbers.items()}


@pytest.mark.parametrize(
    ("prefer", "choice", "reason"),
    [
        (
            "size",
            "int8",
            "fastest of weight_only, int8, which are within 10 % of the size of the smallest within the",
        ),
        ("latency", "int8", "the fastest within the limits[.]"),
        (
            "accuracy",
            "weight_only",
            "the smallest of float32, weight_only, which are within 0.1 points of the most accurate",
        ),
    ],
)
def test_what_is_preferred_decides(prefer, choice, reason):
    """EfficientNet-Lite0: 3.72 MB at 2.4 ms against 3.97 MB at 0.92 ms, which is 6.7 % more."""
    reports = ladder_of(
        float32=(13_500_000, 2.5, 0.0), weight_only=(3_720_000, 2.4, 0.0005), int8=(3_970_000, 0.92, 0.005)
    )
    found, why = choose(reports, 0.01, prefer=prefer)
    assert found == choice and re.search(reason, why)


def test_a_preference_is_one_of_three():
    for prefer in ("speed", None):
        with pytest.raises(ValueError, match=r"prefer is one of \['size', 'latency', 'accuracy'\]; received"):
            choose(REPORTS, 0.01, prefer=prefer)


def test_the_table_has_a_line_for_each_variant_and_marks_the_choice():
    bare = {"float16": dataclasses.replace(REPORTS["float16"], quality=None)}
    found = Ladder({**bare, "int8": REPORTS["int8"]}, {"dynamic": "it broke."}, "int8", "int8 is the choice.")
    assert unseen(found) == []
    assert str(found).splitlines() == [
        "variant  size    1 / 2 threads  XNNPACK + other  differs by  accuracy      points lost (95 %)",
        "float16  0.5 kB  10 / 10 ms     1 + 0            0.0e+00     not measured  not measured",
        "→ int8   0.2 kB  4 / 4 ms       1 + 0            0.0e+00     87.00         3.00 (0.00 to 0.00)",
        "dynamic was not exported: it broke.",
        "int8 is the choice.",
    ]
