"""Which trial is stopped as unlikely: curves by hand."""

import math

import pytest

from kerasft.search.results.pruning import is_unlikely
from kerasft.search.results.record import TrialRecord

NAN = math.nan
ALL, STEPS = "head_then_all", "one_stage_at_a_time"


def ended(curve, depths, recipe=ALL):
    return TrialRecord("0", {}, recipe, curve=curve, depths=depths)


# Six epochs; all thaws in epoch 1. From epoch 3 on they gain .86 - .75 = .11 and .80 - .76 = .04, from epoch
# 4 on .86 - .80 = .06 and .80 - .78 = .02. Both are back at .60 within three epochs of the thaw.
D = [4, 1, 1, 1, 1, 1]
OTHERS = [ended([0.60, 0.50, 0.58, 0.75, 0.80, 0.86], D), ended([0.60, 0.59, 0.70, 0.76, 0.78, 0.80], D)]
# It took its four thawed epochs to be back: nothing is said before the fifth.
SLOW = ended([0.60, 0.30, 0.40, 0.50, 0.61, 0.62], D)


@pytest.mark.parametrize(
    ("curve", "depths", "others", "expected"),
    [
        # the curve that was ended after one thawed epoch, and after two
        ([0.593, 0.574], [4, 1], OTHERS, False),
        ([0.593, 0.574, 0.556], [4, 1, 1], OTHERS, False),
        # three thawed epochs: .74 + .11 = .85 < .86, and .76 + .11 = .87
        ([0.60, 0.55, 0.60, 0.74], D[:4], OTHERS, True),
        ([0.60, 0.55, 0.60, 0.76], D[:4], OTHERS, False),
        # a deep dip that is over: .79 + .11 = .90
        ([0.60, 0.10, 0.10, 0.79], D[:4], OTHERS, False),
        # an epoch later: .79 + .06 = .85, .81 + .06 = .87; what it has had, .87, is the best
        ([0.60, 0.55, 0.60, 0.76, 0.79], D[:5], OTHERS, True),
        ([0.60, 0.55, 0.60, 0.76, 0.81], D[:5], OTHERS, False),
        ([0.60, 0.55, 0.60, 0.87, 0.10], D[:5], OTHERS, False),
        # one like it needed four thawed epochs: none is stopped after three; .3 + .11 is hopeless after four
        ([0.60, 0.20, 0.20, 0.30], D[:4], [*OTHERS, SLOW], False),
        ([0.60, 0.20, 0.20, 0.30, 0.30], D[:5], [*OTHERS, SLOW], True),
        # before the thaw
        ([0.10], [4], OTHERS, False),
        # no number, no trial, one trial, one that is over as early
        ([0.60, 0.55, 0.60, NAN], D[:4], OTHERS, False),
        ([0.60, 0.20, 0.20, 0.30], D[:4], [], False),
        ([0.60, 0.20, 0.20, 0.30], D[:4], OTHERS[:1], False),
        ([0.60, 0.20, 0.20, 0.30, 0.30, 0.30], D, OTHERS, False),
    ],
)
def test_after_the_thaw_has_had_its_epochs(curve, depths, others, expected):
    assert is_unlikely(curve, depths, [1], ALL, others, "max") is expected
    upside_down = [ended([-v for v in r.curve], r.depths) for r in others]
    assert is_unlikely([-v for v in curve], depths, [1], ALL, upside_down, "min") is expected


HOPELESS = [0.60, 0.20, 0.20, 0.30]


@pytest.mark.parametrize(
    "others",
    [
        [ended(r.curve, r.depths, STEPS) for r in OTHERS],  # another recipe
        [ended(r.curve, [4, 4, 1, 1, 1, 1]) for r in OTHERS],  # in another phase
        [ended(r.curve, [4, 1, 1, 1, 1, 0]) for r in OTHERS],  # a thaw to come
        [ended(r.curve, [4, 2, 2, 2, 2, 2]) for r in OTHERS],  # less deep
        [ended(r.curve, []) for r in OTHERS],  # of an earlier version, which did not note depths
    ],
)
def test_a_trial_is_measured_by_those_like_it_alone(others):
    assert is_unlikely(HOPELESS, D[:4], [1], ALL, OTHERS, "max")
    assert not is_unlikely(HOPELESS, D[:4], [1], ALL, others, "max")
    best = ended([0.99] * 6, D, STEPS)  # what it would have to beat is the best of all
    assert is_unlikely([0.60, 0.55, 0.60, 0.87], D[:4], [1], ALL, [*OTHERS, best], "max")


def test_a_trial_without_a_thaw_is_not_stopped():
    frozen = [ended(r.curve, [4] * 6) for r in OTHERS]
    assert not is_unlikely([0.1] * 5, [4] * 5, [], ALL, frozen, "max")


def test_the_last_of_several_thaws_counts():
    depths = [3, 2, 1, 1, 1, 1, 1]
    others = [ended([0.5, 0.6, 0.7, 0.7, 0.7, 0.7, 0.8], depths, STEPS)] * 2
    curve = [0.1, 0.1, 0.1, 0.1, 0.1]
    assert not is_unlikely(curve[:4], depths[:4], [1, 2], STEPS, others, "max")  # two epochs after it
    assert is_unlikely(curve, depths[:5], [1, 2], STEPS, others, "max")
    assert not is_unlikely(curve, depths[:5], [1, 5], STEPS, others, "max")  # of another schedule
