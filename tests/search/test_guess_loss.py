import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasft.search.guess_loss import loss_for

INTS, FLOATS = np.zeros(5, "int64"), np.zeros((5, 1), "float32")


def model(classes, activation=None):
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(classes, activation=activation)])


def guess(net, targets):
    """The loss's class, whether it takes logits, and the metrics' names."""
    loss, metrics = loss_for(net, targets)
    return type(loss).__name__, loss.get_config().get("from_logits"), bool(metrics)


SPARSE, ONE_HOT, BINARY = "SparseCategoricalCrossentropy", "CategoricalCrossentropy", "BinaryCrossentropy"


@pytest.mark.parametrize(
    ("classes", "activation", "targets", "expected"),
    [
        (3, "softmax", INTS, (SPARSE, False, True)),
        (3, None, INTS, (SPARSE, True, True)),
        (3, None, INTS[:, None], (SPARSE, True, True)),  # one column of labels
        (3, None, INTS.astype("uint8"), (SPARSE, True, True)),
        (3, "softmax", np.eye(3), (ONE_HOT, False, True)),
        (3, None, np.eye(3, dtype="int32"), (ONE_HOT, True, True)),
        (3, "sigmoid", np.eye(3), (BINARY, False, True)),
        (1, "sigmoid", INTS, (BINARY, False, True)),
        (1, "sigmoid", FLOATS, (BINARY, False, True)),
        (1, None, INTS > 0, (BINARY, True, True)),
        (1, None, FLOATS, ("MeanSquaredError", None, False)),
        (3, None, np.zeros((5, 3)), ("MeanSquaredError", None, False)),  # numbers, not classes
    ],
)
def test_the_loss_follows_from_the_output_and_the_targets(classes, activation, targets, expected):
    assert guess(model(classes, activation), targets) == expected
    tensor = tf.constant(targets)  # what is known of a tf.data.Dataset is enough
    assert guess(model(classes, activation), tf.TensorSpec((None, *targets.shape[1:]), tensor.dtype)) == (
        expected
    )


def test_its_value_is_that_of_the_formula():
    labels = np.array([0])
    of_softmax, _ = loss_for(model(3, "softmax"), labels)
    assert float(of_softmax(labels, np.array([[0.7, 0.2, 0.1]]))) == pytest.approx(-math.log(0.7))
    of_logits, _ = loss_for(model(2), labels)  # softmax of (ln 3, 0) is (3/4, 1/4)
    assert float(of_logits(labels, np.array([[math.log(3), 0.0]]))) == pytest.approx(-math.log(0.75))


@pytest.mark.parametrize(
    "last",
    [
        keras.layers.Softmax(),
        keras.layers.Activation("softmax", dtype="float32"),
        keras.ops.softmax,  # no layer
        keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, activation="softmax")]),  # a nested head
    ],
)
def test_a_softmax_of_any_kind_is_seen(last):
    inputs = keras.Input((4,))
    net = keras.Model(inputs, last(keras.layers.Dense(3)(inputs)))
    assert guess(net, INTS) == (SPARSE, False, True)


def test_a_map_of_labels_as_wide_as_there_are_classes_is_not_one_hot():
    net = keras.Sequential([keras.Input((3, 4)), keras.layers.Dense(3)])  # three steps, three classes each
    assert guess(net, np.zeros((5, 3), "int64")) == (SPARSE, True, True)


@pytest.mark.parametrize(
    ("activation", "output"),
    [("sigmoid", [[0.6], [0.4]]), (None, [[0.3], [-0.3]])],  # a logit above 0 says class 1
)
def test_accuracy_of_two_classes_counts_on_the_right_side_of_the_threshold(activation, output):
    net = model(1, activation)
    loss, metrics = loss_for(net, INTS)
    net.compile("sgd", loss, metrics=metrics)
    net.compute_metrics(None, np.array([[1.0], [0.0]]), np.array(output))
    assert float(net.get_metrics_result()["accuracy"]) == 1.0


def test_accuracy_of_several_labels_at_once_counts_each():
    net = model(3, "sigmoid")
    loss, metrics = loss_for(net, np.array([[1, 1, 0]]))
    net.compile("sgd", loss, metrics=metrics)
    net.compute_metrics(None, np.array([[1.0, 1.0, 0.0]]), np.array([[0.9, 0.2, 0.1]]))
    assert float(net.get_metrics_result()["accuracy"]) == pytest.approx(2 / 3)  # the second is wrong


def test_what_cannot_be_guessed_is_refused_with_a_way_out():
    inputs = keras.Input((4,))
    two = keras.Model(inputs, [keras.layers.Dense(2)(inputs), keras.layers.Dense(2)(inputs)], name="two")
    with pytest.raises(
        ValueError, match=r"'two' is not compiled, and with 2 outputs and 1 targets.*loss=\.\.\."
    ):
        loss_for(two, INTS)
    with pytest.raises(ValueError, match="1 outputs and 2 targets"):
        loss_for(model(3), [INTS, INTS])
    with pytest.raises(ValueError, match="can't be guessed"):
        loss_for(model(3), None)
