"""Which trial is best, and which can't win any more."""

import math

import pytest

from kerasft.search.results.ranking import best_of, cannot_win, is_better, ranked
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


OTHERS = [[0.5, 0.7, 0.8], [0.4, 0.7, 0.75], [0.6, 0.6, 0.7]]


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([0.44], True),  # 0.44 + the largest gain from there, 0.8 - 0.5 or 0.75 - 0.4 = 0.35, is 0.79 < 0.8
        ([0.46], False),  # 0.46 + 0.35 = 0.81
        ([0.46, 0.69], True),  # 0.69 + 0.8 - 0.7 = 0.79
        ([0.75, 0.2], True),  # 0.2 + 0.1 = 0.3, and the 0.75 that it has had is no best either
        ([0.81, 0.2], False),  # it is the best one
        ([], False),
        ([NAN], False),
        ([0.1, 0.1, 0.1], False),  # no trial was longer
    ],
)
def test_a_trial_that_could_not_win_with_the_largest_gain_ever_seen(curve, expected):
    assert cannot_win(curve, OTHERS, "max") is expected
    assert cannot_win([-v for v in curve], [[-v for v in c] for c in OTHERS], "min") is expected


def test_one_trial_says_nothing():
    assert not cannot_win([0.0], OTHERS[:1], "max")
    assert not cannot_win([0.0], [*OTHERS[:1], [0.9]], "max")  # that one was stopped at once
