"""Errors and their standard errors, against sklearn and by hand."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, r2_score

from kerasft.advice.errors_of import Task, times

RNG = np.random.default_rng(0)
ONES = np.ones(30)


def test_classes():
    labels, scores = RNG.integers(0, 3, 30), RNG.normal(size=(30, 3))
    task = Task(np.eye(3)[labels], "softmax", ONES)
    mean, error = task.mean(task.errors(scores))
    assert task.measure == "accuracy" and 1 - mean == pytest.approx(accuracy_score(labels, scores.argmax(1)))
    assert error == pytest.approx(np.sqrt(mean * (1 - mean) / 30))  # binomial


def test_columns_and_weights():
    wanted, scores = RNG.integers(0, 2, (30, 4)).astype(float), RNG.normal(size=(30, 4))
    weights = np.repeat([1.0, 3.0], 15)
    task = Task(wanted, "sigmoid", weights)
    mean, _ = task.mean(task.errors(scores))
    expected = np.mean(
        [accuracy_score(wanted[:, i], scores[:, i] > 0, sample_weight=weights) for i in range(4)]
    )
    assert 1 - mean == pytest.approx(expected)


@pytest.mark.parametrize("weights", [ONES, np.repeat([1.0, 3.0], 15)], ids=["equal", "weighted"])
def test_numbers_give_r_squared(weights):
    wanted = RNG.normal(size=(30, 2)) * [1, 10]
    scores = wanted + RNG.normal(size=(30, 2))
    task = Task(wanted, "identity", weights)
    mean, error = task.mean(task.errors(scores))
    assert task.measure == "R²" and 1 - mean == pytest.approx(r2_score(wanted, scores, sample_weight=weights))
    assert 0 < error < mean


def test_no_error_in_few_samples_is_no_certainty():
    task = Task(np.eye(2)[np.arange(30) % 2], "softmax", ONES)
    assert task.mean(np.zeros(30)) == (0.0, pytest.approx(1 / 30))
    one = np.zeros(30)
    one[3] = 1
    assert task.mean(one) == (pytest.approx(1 / 30), pytest.approx(1 / 30, rel=0.02))
    assert task.mean(np.where(np.arange(30) < 10, np.nan, 0.5))[0] == pytest.approx(0.5)


def test_times():
    assert times((0.3, 0.1)) == pytest.approx(3) and times((0.0, 0.0)) == 0 and times((-1.0, 0.0)) == -np.inf
