"""The choice among the precisions of a model, and their table."""

import dataclasses
import re

import pytest
from kerasft.export.ladder_choice import Ladder, choose
from ladder_reports import REPORTS


@pytest.mark.parametrize(
    ("limits", "choice", "reason"),
    [
        ((0.05,), "int8", "the smallest within the limits"),
        ((0.01,), "weight_only", "fastest of weight_only, dynamic.*int8 loses 3.0 points"),
        ((0.001,), "float16", "weight_only loses 0.5 points"),
        ((0.05, 239), "int8_io", "int8 has 240 bytes"),  # only where no other is left
        ((0.05, None, 9.0), "int8", "float32 takes 10.0 ms"),
        ((0.01, None, 9.0), None, "No variant keeps the limits: float32 takes 10.0 ms; .*int8 loses"),
    ],
)
def test_the_choice_is_the_smallest_within_the_limits(limits, choice, reason):
    found, why = choose(REPORTS, *limits)
    assert found == choice and re.search(reason, why)


def test_without_accuracies_size_and_time_decide():
    bare = {name: dataclasses.replace(r, quality=None) for name, r in REPORTS.items()}
    assert choose(bare, 0.0)[0] == "int8"


def test_the_table_has_a_line_for_each_variant_and_marks_the_choice():
    bare = {"float16": dataclasses.replace(REPORTS["float16"], quality=None)}
    found = Ladder({**bare, "int8": REPORTS["int8"]}, {"dynamic": "it broke."}, "int8", "int8 is the choice.")
    assert str(found).splitlines() == [
        "variant  size    1 / 2 threads  XNNPACK + other  differs by  accuracy  points lost (95 %)",
        "float16  0.5 kB  10 / 10 ms     1 + 0            0.0e+00",
        "→ int8   0.2 kB  4 / 4 ms       1 + 0            0.0e+00     87.00     3.00 (0.00 to 0.00)",
        "dynamic was not exported: it broke.",
        "int8 is the choice.",
    ]
