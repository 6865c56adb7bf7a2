"""The golden samples of a holdout, chosen in one pass."""

import keras
import numpy as np
import tensorflow as tf
from kerasft.export.model.holdout import Golden, looked_at

RNG = np.random.default_rng(0)


def golden_of(named, batch=7, classes=None):
    golden, count = Golden(), len(next(iter(named.values())))
    for i in range(0, count, batch):
        part = {k: v[i : i + batch] for k, v in named.items()}
        golden.add(part, None if classes is None else classes[i : i + batch])
    return golden


def test_first_last_extremes_padding_and_every_class_are_among_them():
    x = RNG.uniform(0, 1, (1000, 5)).astype("float32")
    ids = RNG.integers(1, 9, (1000, 6)).astype("int32")
    x[417, 2], x[823, 0], ids[200, 2:], ids[300, 0] = -5.0, 7.0, 0, 0
    classes = np.zeros(1000, int)
    classes[[611, 777]] = 1, 2
    golden = golden_of({"x": x, "ids": ids}, classes=classes)
    assert {0, 200, 417, 611, 777, 823, 999} <= set(golden.places) and len(golden.places) <= 64
    for place, sample in zip(golden.places, golden.samples, strict=True):
        np.testing.assert_array_equal(sample["x"], x[place : place + 1])
        np.testing.assert_array_equal(sample["ids"], ids[place : place + 1])
    even = np.diff([0, *golden.places])
    assert max(even) < 150  # the rest lie all over it
    assert golden_of({"x": x, "ids": ids}, batch=1000, classes=classes).places == golden.places


def test_they_are_bounded_and_keep_no_batch_in_memory():
    classes = np.arange(3000)
    golden = golden_of({"x": RNG.uniform(size=(3000, 2)), "y": RNG.uniform(size=(3000, 2))}, 100, classes)
    assert len(golden.samples) <= 64
    assert all(value.base is None for sample in golden.samples for value in sample.values())
    few = golden_of({"x": np.zeros((3, 2), "uint8")})
    assert few.places == [0, 1, 2]


def test_values_that_are_not_finite_and_empty_batches_hide_nothing():
    x = RNG.uniform(size=(30, 2))
    x[4], x[20, 0] = np.nan, 9.0
    golden = golden_of({"x": x})
    golden.add({"x": np.zeros((0, 2))})
    assert {20, 29} <= set(golden.places)


def test_the_longest_and_the_shortest_of_data_of_several_lengths():
    inputs = keras.Input((None,), dtype="int32", name="ids")
    pooled = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(9, 2)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(pooled))
    lengths = RNG.integers(3, 9, 400)
    lengths[[123, 345]] = 1, 20

    def rows():
        for length in lengths:
            yield np.ones((1, length), "int32"), np.array([length % 2])

    spec = tf.TensorSpec((1, None), tf.int32), tf.TensorSpec((1,), tf.int64)
    golden, reading = looked_at(model, tf.data.Dataset.from_generator(rows, output_signature=spec), None)
    assert {123, 345} <= set(golden.places)
    assert reading.kind == "classes"


def test_complex_inputs_are_chosen_by_their_size():
    golden = Golden()
    golden.add({"x": np.array([[1], [3j], [2]], "complex64")})
    assert 1 in golden.places
