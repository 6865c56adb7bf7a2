"""Columns of an output, each by its own spread."""

import numpy as np
import pytest
from kerasft.export.columns import Columns

RNG = np.random.default_rng(0)
LIMIT = 0.7


def seen(values, made, producer=""):
    """What is measured of the samples of a model's output and of a file's, of shape (samples, …)."""
    columns = Columns("y", producer)
    for value, other in zip(values, made, strict=True):
        columns.add(other[None] - value[None], value[None])
    return columns


def rounded(values):
    """As int8 keeps them with one scale for all: the nearest of 256 steps."""
    step = np.ptp(values) / 255
    return np.round(values / step) * step


def mixed(samples=200):
    """Boxes to 640 and scores to 1."""
    return np.concatenate([RNG.uniform(0, 640, (samples, 4)), RNG.uniform(0, 1, (samples, 2))], 1)


def test_each_column_is_measured_by_its_own_deviation():
    values = RNG.normal(size=(50, 3)) * [100, 1, 0.01] + [0, 10, 0]
    off = RNG.normal(size=(50, 3)) * [1, 0.3, 0.004]
    columns = seen(values, values + off)
    # the last: its differences by its deviation, both about their means
    by_hand = max((off - off.mean(0)).std(0) / values.std(0))
    also = max(np.sqrt(np.mean(off**2, 0)) / np.sqrt(np.mean(values**2, 0)))
    assert columns.worst == pytest.approx(max(by_hand, also))
    assert columns.lost(0.99 * columns.worst).columns == (2,) and columns.lost(1.01 * columns.worst) is None


def test_small_columns_beside_large_ones_are_lost_in_int8_wherever_they_are():
    values = mixed()
    assert (
        np.sqrt(np.mean((rounded(values) - values) ** 2) / np.mean(values**2)) < 0.005
    )  # all of them at once
    found = seen(values, rounded(values)).lost(LIMIT)
    assert found.columns == (4, 5) and "columns 4, 5 of the output 'y'" in str(found)
    assert found.relative == pytest.approx(1, abs=0.2) and found.largest == pytest.approx(640, abs=5)
    maps = values.reshape(10, 20, 6)  # the columns of every place count together
    assert seen(maps, rounded(maps)).lost(LIMIT).columns == (4, 5)
    one = np.concatenate([RNG.uniform(0, 640, (90, 49)), RNG.uniform(0, 1, (90, 1))], 1)
    assert seen(one, rounded(one), "CONCATENATION").lost(LIMIT).columns == (49,)
    assert seen(values, values.astype("float16").astype(float)).lost(0.01) is None


def test_columns_that_are_constant_are_measured_by_their_size():
    values = mixed(40)
    values[:, 5] = 0.5
    made = rounded(values)
    assert np.all(made[:, 5] == 0) and seen(values, made).lost(LIMIT).columns == (4, 5)
    values[:, 4:] = 0.0  # dead
    assert seen(values, rounded(values)).lost(LIMIT) is None
    values[:, 4:] = 1e-9  # nothing beside 640
    assert seen(values, 0.999 * values).lost(LIMIT) is None
    assert seen(np.full((9, 1), 3.0), np.full((9, 1), 3.0)).worst == 0
    assert seen(np.full((9, 1), 3.0), np.zeros((9, 1))).worst == 1


def test_a_constant_file_of_an_output_that_varies_about_a_large_number_has_lost_it():
    values = 1000 + RNG.normal(size=(60, 1))
    found = seen(values, np.full((60, 1), 1000.0)).lost(LIMIT)
    assert found is not None and found.relative == pytest.approx(1, abs=0.01)
    assert seen(values.ravel(), np.full(60, 1000.0)).lost(LIMIT) is not None  # of shape (batch,)
    float32 = np.float32(1000) + 1e-5 * RNG.normal(size=(60, 1))  # what rounding makes is no spread
    assert seen(float32, np.full((60, 1), 1000.0)).lost(LIMIT) is None


def test_classes_that_are_never_likely_are_not_lost():
    """A thousand scores of a softmax, of which 950 are about 0 for all samples."""
    logits = RNG.normal(size=(60, 1000)) + np.where(np.arange(1000) < 50, 8, 0) * RNG.uniform(
        0, 2, (60, 1000)
    )
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    made = np.round(scores * 256) / 256
    columns = seen(scores, made)
    assert np.mean(made.std(0) == 0) > 0.5 and columns.lost(LIMIT) is None
    assert columns.agreement == np.mean(scores.argmax(1) == made.argmax(1)) > 0.9
    flat = seen(scores, np.full_like(scores, 1e-3))
    assert flat.lost(LIMIT).columns == () and "from sample to sample" in str(flat.lost(LIMIT))
    assert seen(logits, logits).agreement is None  # nothing says that these are classes


def test_vectors_of_length_one_and_scores_of_a_sigmoid_share_one_unit():
    vectors = RNG.normal(size=(60, 8)) * np.geomspace(1, 1e-3, 8)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert seen(vectors, rounded(vectors)).lost(LIMIT) is None
    rare = RNG.uniform(0, 1, (60, 4)) * [1, 1, 1, 1e-3]
    assert seen(rare, rounded(rare), "LOGISTIC").lost(LIMIT) is None
    assert seen(rare, rounded(rare), "CONCATENATION").lost(LIMIT).columns == (3,)


def test_wide_outputs_of_one_kind_may_lose_a_twentieth_of_their_columns():
    features = RNG.uniform(0, 6, (60, 200)) * np.where(np.arange(200) < 9, 1e-3, 1)
    assert seen(features, rounded(features)).lost(LIMIT) is None
    assert seen(features, rounded(features), "CONCATENATION").lost(LIMIT).columns == tuple(range(9))
    many = features * np.where(np.arange(200) < 40, 1e-3, 1)
    assert len(seen(many, rounded(many)).lost(LIMIT).columns) == 40


def test_small_columns_of_many_without_a_gap_are_those_of_one_kind():
    """Features of a backbone, from active to almost never active, against values of two kinds."""
    spreads = np.geomspace(1, 1e-4, 128)
    features = RNG.uniform(0, 6, (60, 128)) * spreads
    made = rounded(features)
    assert 6 < np.sum(made.std(0) == 0) < 64
    assert seen(features, made).lost(LIMIT) is None
    assert len(seen(features, made, "PACK").lost(LIMIT).columns) > 6
    few = np.geomspace(1, 0.02, 128)
    apart = RNG.uniform(0, 6, (60, 128)) * few * np.where(few < 0.03, 1e-2, 1)  # a hundred between two kinds
    assert 6 < np.sum(few < 0.03) < 64
    assert seen(apart, rounded(apart)).lost(LIMIT) is not None
    most = RNG.uniform(0, 6, (60, 128)) * np.geomspace(1, 1e-8, 128)
    assert seen(most, rounded(most)).lost(LIMIT) is not None  # more than half


def test_an_axis_that_is_open_has_no_columns():
    columns = Columns("y")
    values = [RNG.normal(size=(1, n)) for n in (4, 6, 4)]
    for value in values:
        columns.add(0.5 * value, value)
    every = np.concatenate([v.ravel() for v in values])
    assert columns.worst == pytest.approx(max(0.5, 0.5 * every.std() / every.std()))
    assert Columns("y").lost(LIMIT) is None and columns.lost(0.4).columns == ()


def test_a_message_says_whether_a_column_varies_and_along_which_axis():
    values = mixed(40)[:, 3:5]
    assert str(seen(values, rounded(values)).lost(LIMIT)).startswith(
        "column 1 of the output 'y' (last axis) differs by 1"
    )
    assert "of its own spread: it varies by 0." in str(seen(values, rounded(values)).lost(LIMIT))
    values[:, 1] = 0.5
    assert "differs by 1 of its own size: it is always about 0.5, in" in str(
        seen(values, rounded(values)).lost(LIMIT)
    )
    across = Columns("y", axis=1)
    across.add(rounded(values) - values, values)
    assert across.lost(LIMIT) is None  # a step of a time that is always the same
    values[:, 1] = RNG.uniform(0, 1, 40)
    across.add(rounded(values) - values, values)
    assert "column 1 of the output 'y' (axis 1) differs" in str(across.lost(LIMIT))
