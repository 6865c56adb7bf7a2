"""Each rule, on errors that are made for it."""

import numpy as np
import pytest

from kerasft.advice.errors_of import Task
from kerasft.advice.result import AtSize
from kerasft.advice.verdict import judged

COUNT = 400
TASK = Task(np.eye(2)[np.arange(COUNT) % 2], "softmax", np.ones(COUNT))
NAMES = ("stem", "block_1", "block_2", "block_3")
CURVE = (AtSize(200, 0.7, 0.02), AtSize(400, 0.8, 0.02), AtSize(800, 0.85, 0.03, measured=False))


def wrong(share, seed=0):
    """Errors of a share of the samples, drawn anew for each seed."""
    errors = np.zeros(COUNT)
    errors[np.random.default_rng(seed).permutation(COUNT)[: round(share * COUNT)]] = 1
    return errors


def verdict(shares, before=None, in_training=0.0):
    in_training = wrong(in_training, len(shares) - 1)  # some of those that are wrong when they are held out
    errors = [wrong(share, seed) for seed, share in enumerate(shares)]
    by_size = {1: errors[-1]} if before is None else {2: wrong(before, 9), 1: errors[-1]}
    return judged(TASK, NAMES, errors, in_training, by_size, CURVE)


def test_at_the_ceiling_features_are_extracted():
    found = verdict([0.5, 0.3, 0.1, 1 / COUNT], before=0.1)
    assert (found.recommendation, found.confidence, found.row) == ("extract_features", "clear", 3)
    # 1 of 400, and what one sample makes
    assert "0.998 ± 0.003" in found.reasons[0] and "within a standard error of 0" in found.reasons[0]
    assert verdict([0.5, 0.3, 0.1, 3 / COUNT], before=0.1).confidence != "clear"


def test_an_earlier_stage_that_is_clearly_better_says_where_to_fine_tune_from():
    found = verdict([0.5, 0.1, 0.3, 0.3], before=0.35)
    assert (found.recommendation, found.confidence, found.row) == ("fine_tune", "clear", 1)
    # 200 of 400 differ at random: by hand the standard error of the paired difference
    gain = wrong(0.3, 3) - wrong(0.1, 1)
    assert (
        f"'block_1' beats the one before the head by {gain.mean():.3f} ± {gain.std() / 20:.3f}"
        in found.reasons[0]
    )
    assert "accuracy 0.900 against 0.700" in found.reasons[0]


def test_of_equal_stages_the_last_is_taken_which_trains_least():
    assert verdict([0.5, 0.1, 0.1025, 0.3], before=0.35).row == 2


def test_a_difference_that_chance_makes_decides_nothing():
    found = verdict([0.3, 0.27, 0.3, 0.3], before=0.5)
    assert (found.recommendation, found.row) == ("fine_tune", None)
    assert "no earlier stage is clearly better" in found.reasons[0]


@pytest.mark.parametrize(("share", "sure"), [(0.25, "likely"), (0.16, "open")])
def test_where_most_of_the_error_is_there_in_training_the_features_are_the_limit(share, sure):
    found = verdict([0.5, 0.4, 0.35, 0.3], before=0.3, in_training=share)
    assert (found.recommendation, found.confidence, found.row) == ("fine_tune", sure, None)
    assert f"it was fitted to, its accuracy is {1 - share:.3f}" in found.reasons[1]
    assert "features are the limit" in found.reasons[-1]


@pytest.mark.parametrize(("before", "sure"), [(0.5, "likely"), (0.36, "open")])
def test_where_more_samples_help_they_are_the_limit(before, sure):
    found = verdict([0.5, 0.4, 0.35, 0.3], before=before)
    assert (found.recommendation, found.confidence, found.row) == ("fine_tune", sure, None)
    assert "samples are the limit" in found.reasons[-1]
    assert "From 200 to 400 samples accuracy rose by" in found.reasons[2]
    assert "800 would give about 0.850 ± 0.030" in found.reasons[2]


def test_without_a_curve_it_stays_open():
    found = verdict([0.5, 0.4, 0.35, 0.3])
    assert (found.recommendation, found.confidence) == ("fine_tune", "open")
    assert "too few samples" in found.reasons[-2]
