"""What targets mean, by their values."""

import numpy as np
import pytest
import tensorflow as tf
from kerasft.export.model.targets import CLASSES, ONE_OF_TWO, SEVERAL, Reading, counted


def read(*targets, shape=(None, 3), labels=None, weights=None):
    reading = Reading([shape], labels)
    for part in targets:
        reading.add(part, len(part), weights)
    return reading


@pytest.mark.parametrize("dtype", ["int64", "float32", "uint8", "float16"])
def test_class_numbers_of_every_dtype(dtype):
    for numbers in (
        np.array([0, 2, 1], dtype),
        np.array([[0], [2], [1]], dtype),
        tf.constant([0, 2, 1], dtype),
    ):
        reading = read(numbers)
        assert reading.kind == CLASSES and reading.truth(numbers).tolist() == [0, 2, 1]
    one_hot = np.eye(3, dtype=dtype)
    assert read(one_hot).kind == CLASSES and read(one_hot).truth(one_hot).tolist() == [0, 1, 2]
    assert read(one_hot).named(np.array([[0.1, 0.2, 0.3]])).tolist() == [2]


def test_names_stand_for_their_labels():
    labels = ["cat", "dog", "eel"]
    for names in (np.array(["dog", "cat"]), np.array([b"dog", b"cat"]), tf.constant([["dog"], ["cat"]])):
        assert read(names, labels=labels).truth(names).tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"names, \['cat', 'dog'\].* Pass labels="):
        read(np.array(["dog", "cat"]))
    with pytest.raises(ValueError, match=r"has the labels \['fox'\]; labels are \['cat', 'dog', 'eel'\]"):
        read(np.array(["dog", "fox"]), labels=labels)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (
            np.array([1, 2, 3]),
            "run from 1 to 3, but an output of 3 columns has the classes 0 to 2. They seem",
        ),
        (np.array([0.0, 3.0]), "run from 0 to 3, but .* 0 to 2[.]$"),
        (np.array([-1, 0]), "run from -1 to 0"),
        (np.eye(4), "one-hot rows of 4, but the output has 3 columns"),
        (np.array([np.nan, 1.0]), "not finite"),
        (np.array(2), "shape"),
    ],
)
def test_targets_that_are_no_classes_of_the_output_are_refused(targets, message):
    with pytest.raises(ValueError, match=message):
        Reading([(None, 3)], None).add(targets, len(np.atleast_1d(targets)))


def test_an_output_without_axes_is_one_number():
    assert Reading([()], None).units == 1


def test_as_many_labels_as_samples():
    with pytest.raises(ValueError, match=r"labels of the shape \(3,\) for 4 samples"):
        Reading([(None, 3)], None).add(np.array([0, 1, 2]), 4)


def test_one_column_is_one_of_two_classes():
    for shape in ((None, 1), (None,)):
        reading = read(np.array([0.0, 1.0, 1.0]), shape=shape, labels=["no", "yes"])
        assert reading.kind == ONE_OF_TWO
        # as Keras's BinaryAccuracy: above the threshold
        assert reading.named(np.array([[0.5], [0.51], [0.2]]).reshape(-1, *shape[1:])).tolist() == [0, 1, 0]
    names = np.array(["yes", "no"])
    assert read(names, shape=(None, 1), labels=["no", "yes"]).truth(names).tolist() == [1, 0]
    with pytest.raises(ValueError, match="run from 1 to 2, but two labels are the classes 0 and 1"):
        read(np.array([1, 2]), shape=(None, 1), labels=["no", "yes"])
    with pytest.raises(ValueError, match="one-hot rows of 2, but the output has 1 column[.]"):
        read(np.eye(2), shape=(None, 1))


def test_smoothed_rows_name_the_class_that_is_largest():
    rows = np.eye(3)[[2, 0, 1]] * 0.9 + 0.1 / 3  # as keras.losses.CategoricalCrossentropy(label_smoothing=.1)
    assert read(rows).kind == CLASSES and read(rows).truth(rows).tolist() == [2, 0, 1]
    with pytest.raises(ValueError, match="rows of 4, but the output has 3 columns"):
        read(np.eye(4) * 0.9 + 0.025)
    for no_class in ([[0.4, 0.4, 0.2]], [[0.7, 0.5, -0.2]], [[0.9, 0.3, 0.2]]):  # a tie, no shares, no sum
        assert "not class numbers" in read(rows, np.array(no_class)).reason


def test_rows_of_zeros_and_ones_are_several_labels_if_one_row_is():
    rows = np.array([[1, 1, 0], [0, 0, 0]])
    reading = read(np.eye(3), rows)
    assert reading.kind == SEVERAL and reading.truth(rows).tolist() == rows.tolist()
    assert reading.named(np.array([[0.9, 0.5, 0.6]])).tolist() == [[1, 0, 1]]


@pytest.mark.parametrize(
    ("targets", "shape", "reason"),
    [
        (np.array([0.5, 1.5]), (None, 1), "numbers from 0.5 to 1.5; a class of one output column is 0 or 1"),
        (np.array([-1, 1]), (None, 1), "numbers from -1 to 1"),
        (np.array([0.5, 1.5]), (None, 3), "numbers with fractions"),
        (np.full((2, 3), 0.3), (None, 3), "numbers from 0.3 to 0.3, not class numbers"),
        (np.zeros((2, 5)), (None, 3), "the targets have 5 columns, the output 3"),
        (np.zeros((2, 4)), (None, 4, 3), r"the shape \(None, 4, 3\), not one row of scores a sample"),
        (np.zeros((2, 4, 3)), (None, 3), "no labels"),
    ],
)
def test_what_allows_no_accuracy_says_why(targets, shape, reason):
    reading = read(targets, shape=shape)
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(reading.reason)
    assert reading.kind == ""


def test_several_outputs_and_labels_that_are_missing():
    two = Reading([(None, 3), (None, 2)], None)
    two.add({"a": np.zeros(3)}, 3)
    assert "has 2 outputs" in two.reason
    some = read(np.array([0, 1]))
    some.add(None, 2)
    assert some.reason == "only part of the holdout has labels"


def test_samples_of_the_weight_zero_do_not_count():
    targets, weights = np.array([0, -1, 2]), np.array([1.0, 0.0, 0.5])
    reading = read(targets, weights=weights)  # -1 is padding
    assert reading.kind == CLASSES
    padded = read(targets, weights=weights)
    padded.add(np.array([-1, -1]), 2, np.zeros(2))  # the last batch may be padding as a whole
    assert padded.kind == CLASSES
    none = read(targets, weights=np.zeros(3))
    assert none.reason == "all samples of the holdout have the weight 0"
    assert counted(weights, 3).tolist() == counted(weights[:, None], 3).tolist() == [True, False, True]
    assert counted(None, 2).tolist() == counted(np.zeros((2, 4)), 2).tolist() == [True, True]
