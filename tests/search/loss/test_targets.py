"""What targets are seen to be: their values decide, not their dtype, and all of an array is looked at."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasft.search.loss.targets import MOST_BATCHES, Targets, look_at

X = np.zeros((6, 4), "float32")


@pytest.mark.parametrize(
    ("values", "properties"),
    [
        ([23, 54, 31], {"whole"}),
        ([23.0, 54.0, 31.0], {"whole"}),
        ([0.5, 2.0], set()),
        ([0, 1, 1], {"whole", "binary"}),
        ([0.0, 1.0], {"whole", "binary"}),
        (np.array([True, False]), {"whole", "binary", "is_bool"}),
        ([-1, 1, 1], {"whole", "signs"}),
        ([-1, 0, 1], {"whole"}),
        (np.eye(3), {"whole", "binary", "one_hot", "shares"}),
        ([[1, 1, 0], [0, 0, 1]], {"whole", "binary"}),
        ([[0.2, 0.8], [0.5, 0.5]], {"shares"}),
        (
            np.eye(2)[None].repeat(3, 0),
            {"whole", "binary", "one_hot", "shares"},
        ),  # one-hot at each of two steps
    ],
)
def test_the_values_say_what_targets_are(values, properties):
    seen = Targets.of(values)
    names = ("whole", "binary", "is_bool", "signs", "one_hot", "shares")
    assert {name for name in names if getattr(seen, name)} == properties
    assert (seen.low, seen.high) == (np.min(values), np.max(values))
    assert seen.samples == len(values) and seen.shape == np.shape(values)[1:]


@pytest.mark.parametrize(
    ("parts", "properties"),
    [
        (([0, 1], [0, 1]), {"whole", "binary"}),
        (([0, 1], [7]), {"whole"}),  # the first batch alone would say two classes
        (([0, 1], [0.5]), set()),
        (([1, 1], [-1]), {"whole", "signs"}),
        (([1, 1], [0]), {"whole", "binary"}),
        ((np.eye(2), [[1, 1]]), {"whole", "binary"}),
    ],
)
def test_a_property_of_all_batches_is_one_of_each(parts, properties):
    seen = Targets.of(parts[0]).and_more(Targets.of(parts[1]))
    whole = Targets.of(np.concatenate(parts))
    names = ("whole", "binary", "signs", "one_hot", "shares")
    assert {name for name in names if getattr(seen, name)} == properties
    assert {name for name in names if getattr(whole, name)} == properties
    assert (seen.low, seen.high, seen.samples) == (whole.low, whole.high, whole.samples)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, i):
        return X[2 * i : 2 * i + 2], np.array([0, 1] if i < 2 else [0, 5]), np.ones(2)


def test_every_source_is_looked_at_beyond_its_first_batch():
    y = np.array([0, 1, 0, 1, 0, 5])
    for given in (
        {"x": X, "y": y},
        {"x": X, "y": tf.constant(y)},
        {"x": X, "y": y.tolist()},
        {"x": tf.data.Dataset.from_tensor_slices((X, y)).batch(2)},
        {"x": Batches()},
    ):
        x, seen = look_at(given)
        assert (seen.high, seen.samples, seen.batches, seen.binary) == (5, 6, None, False), given
        assert x.shape[1:] == (4,) and len(x) <= 6


def test_validation_arrays_count():
    seen = look_at({"x": X, "y": np.zeros(6), "validation_data": (X, np.full(6, 3))})[1]
    assert (seen.low, seen.high, seen.samples) == (0, 3, 12)


def test_of_a_long_data_set_a_bounded_number_of_batches_is_read_and_said():
    read = []

    def batches():
        for number in range(10**6):
            read.append(number)
            yield np.zeros((2, 4), "float32"), np.zeros(2, "int64")

    shapes = (tf.TensorSpec((2, 4), "float32"), tf.TensorSpec((2,), "int64"))
    _, seen = look_at({"x": tf.data.Dataset.from_generator(batches, output_signature=shapes)})
    assert seen.batches == MOST_BATCHES and len(read) < MOST_BATCHES + 10
    assert f"the first {MOST_BATCHES} batches with {2 * MOST_BATCHES} samples" in str(seen)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"x": X}, "gets no targets"),
        ({}, "gets no targets"),
        ({"x": iter([])}, "would use it up"),
        ({"x": X, "y": [np.zeros(6), np.zeros(6)]}, "have 2 targets"),
        ({"x": tf.data.Dataset.from_tensors(X)}, "have 0 targets"),
        ({"x": X, "y": np.array(["a", "b"])}, "needs numbers. Turn labels into class ids"),
        ({"x": X, "y": np.array([0.0, np.nan])}, "not finite"),
        ({"x": X[:0], "y": np.zeros(0)}, "hold no targets"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        look_at(given)
