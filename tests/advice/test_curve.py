"""The learning curve, against probes of sklearn and exact power laws."""

import numpy as np
import pytest

from kerasft.advice.curve import errors_by_size, extrapolated
from kerasft.advice.errors_of import Task

RNG = np.random.default_rng(0)
LABELS = np.repeat(np.arange(3), 32)


def task_of(labels):
    return Task(np.eye(3)[labels], "softmax", np.ones(len(labels)))


def test_each_sample_has_an_error_at_each_size_and_more_samples_help():
    x = RNG.normal(size=(96, 12)) + 1.2 * np.eye(3, 12)[LABELS]
    task = task_of(LABELS)
    whole = task.errors(task.fitted(x).held_out)
    found = errors_by_size(task, x, whole)
    assert list(found) == [8, 4, 2, 1] and found[1] is whole
    assert all(set(np.unique(errors)) <= {0.0, 1.0} and errors.shape == (96,) for errors in found.values())
    assert found[8].mean() > found[1].mean() + 0.1


def test_a_part_is_what_a_probe_of_its_samples_says(monkeypatch):
    seen = []
    fitted = Task.fitted
    monkeypatch.setattr(Task, "fitted", lambda self, x, rows: seen.append(rows) or fitted(self, x, rows))
    x, task = RNG.normal(size=(96, 4)), task_of(LABELS)
    found = errors_by_size(task, x, np.zeros(96))
    assert [len(rows) for rows in seen] == [12] * 8 + [24] * 4 + [48] * 2
    assert sorted(np.concatenate(seen[:8]).tolist()) == list(range(96))
    for rows in seen:
        assert np.bincount(LABELS[rows]).tolist() == [len(rows) // 3] * 3  # each class in each part
    rows = seen[-1]
    expected = fitted(task, x, rows).held_out.argmax(1) != LABELS[rows]
    np.testing.assert_array_equal(found[2][rows], expected)


def test_sizes_with_too_few_of_a_class_are_left_out():
    labels = np.array([0] * 40 + [1] * 9 + [2] * 40)  # 9 in 4 parts: at least two each; in 8 not
    assert list(errors_by_size(task_of(labels), RNG.normal(size=(89, 3)), np.zeros(89))) == [4, 2, 1]


def test_a_power_law_is_found():
    sizes = np.array([100.0, 200, 400, 800])
    error, spread = extrapolated(sizes, 3 * sizes**-0.4, 0.01 * np.ones(4), 1600)
    assert error == pytest.approx(3 * 1600**-0.4) and 0 < spread < 0.02
    flat, spread = extrapolated(sizes, np.array([0.1, 0.1, 0.11, 0.12]), 0.01 * np.ones(4), 1600)
    assert 0.1 < flat < 0.12  # an error that rises is taken for one that stays
    assert spread == pytest.approx(0.005, rel=0.15)  # of four measurements


def test_the_standard_error_of_the_extrapolation_is_that_of_repeated_measurements():
    sizes = np.array([100.0, 200, 400, 800])
    true, deviations = 3 * sizes**-0.4, np.array([0.02, 0.02, 0.015, 0.01])
    draws = [extrapolated(sizes, RNG.normal(true, deviations), deviations, 1600) for _ in range(500)]
    errors, spreads = np.array(draws).T
    assert errors.std() == pytest.approx(spreads.mean(), rel=0.15)
