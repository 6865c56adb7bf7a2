"""Which trial is best."""

import math

import pytest

from kerasft.search.results.ranking import best_of, best_with_ties, is_better, ranked
from kerasft.search.results.record import TrialRecord

NAN = math.nan
RECORDS = [
    TrialRecord("0", {}, score=0.5),
    TrialRecord("1", {}, status="stopped", score=0.9),
    TrialRecord("2", {}, status="failed"),
    TrialRecord("3", {}, score=0.9),
]


def test_the_best_comes_first_and_of_equal_ones_the_earlier():
    assert [r.trial for r in ranked(RECORDS, "max")] == ["1", "3", "0"]
    assert [r.trial for r in ranked(RECORDS, "min")] == ["0", "1", "3"]


@pytest.mark.parametrize(
    ("a", "b", "direction", "expected"),
    [
        (2, 1, "max", True),
        (2, 1, "min", False),
        (1, 1, "max", False),
        (NAN, 1, "max", False),
        (1, NAN, "min", True),
    ],
)
def test_nan_is_never_better(a, b, direction, expected):
    assert is_better(a, b, direction) is expected


def test_the_best_of_values():
    assert best_of([1, NAN, 3], "max") == 3 and best_of([1, NAN, 3], "min") == 1
    assert math.isnan(best_of([NAN], "max")) and math.isnan(best_of([], "min"))


def test_the_numbers_of_trials_are_numbers():
    # after more trials were asked for, keras-tuner pads later numbers to another length
    records = [TrialRecord(trial, {}, score=0.5) for trial in ("10", "9", "0", "011")]
    assert [r.trial for r in ranked(records, "max")] == ["0", "9", "10", "011"]


@pytest.mark.parametrize(
    ("direction", "count", "expected"),
    [
        ("max", 1, ["1", "3"]),  # both have 0.9
        ("max", 2, ["1", "3"]),
        ("max", 3, ["1", "3", "0"]),
        ("min", 1, ["0"]),
        ("min", 2, ["0", "1", "3"]),
        ("max", 9, ["1", "3", "0"]),
    ],
)
def test_those_as_good_as_the_last_of_the_best_count_as_well(direction, count, expected):
    assert [r.trial for r in best_with_ties(RECORDS, direction, count)] == expected
    assert best_with_ties([], direction, count) == []
