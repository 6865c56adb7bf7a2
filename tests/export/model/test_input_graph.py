"""What a graph does to its inputs before the first weights, against arithmetic by hand."""

import keras
import numpy as np
import pytest
from kerasft.export.model.input_graph import rescaled
from kerasft.export.model.signature import serving_of

layers = keras.layers


def ends_of(model, batch=1):
    return rescaled(serving_of(model, batch))


def pairs(model):
    (ends,) = ends_of(model)
    return [end.pairs().round(5).tolist() for end in ends]


def pictures(*before, side=8):
    return keras.Sequential(
        [keras.Input((side, side, 3)), *before, layers.Conv2D(2, 3), layers.GlobalAveragePooling2D()]
    )


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ([layers.Rescaling(2.0, -1.0)], [[2.0, -1.0]]),
        ([layers.Rescaling(0.5), layers.Rescaling(4.0, 3.0)], [[2.0, 3.0]]),
        ([layers.Lambda(lambda x: (x - 10) / 4)], [[0.25, -2.5]]),
        (
            [layers.Normalization(mean=[1.0, 2.0, 4.0], variance=[4.0] * 3)],
            [[0.5, -2.0], [0.5, -1.0], [0.5, -0.5]],
        ),
        ([keras.Sequential([layers.Rescaling(2.0)]), layers.Resizing(5, 5)], [[2.0, 0.0]]),
        ([layers.Rescaling(2.0, 1.0), layers.ZeroPadding2D(1)], [[2.0, 1.0]]),
        ([layers.RandomFlip(), layers.Dropout(0.5)], [[1.0, 0.0]]),
        ([], [[1.0, 0.0]]),
        ([layers.Rescaling(2.0), layers.ReLU()], [[2.0, 0.0]]),  # what a ReLU makes is no rescaling
    ],
)
def test_the_arithmetic_before_the_first_weights(before, expected):
    assert pairs(pictures(*before)) == [pytest.approx(np.array(expected))]


@pytest.mark.parametrize(
    ("clipped", "expected"),
    [
        (lambda x: keras.ops.clip(x, 0, 255) / 127.5 - 1, [1 / 127.5, -1]),
        (lambda x: keras.ops.clip(x / 127.5 - 1, -1, 1), [1 / 127.5, -1]),
        (lambda x: keras.ops.relu(x) / 255, [1 / 255, 0]),
        (lambda x: keras.ops.clip(x, 0, 1) * 2 - 1, [2, -1]),
        (lambda x: keras.ops.clip(x, -1, 1) * 0.5 + 0.5, [0.5, 0.5]),
        (lambda x: keras.ops.relu(2 * x - 1), [2, -1]),  # which has no range of its own
        (lambda x: keras.ops.sqrt(keras.ops.abs(x)) * 2 - 1, [1, 0]),
    ],
)
def test_a_rescaling_that_clips_is_one_within_its_range(clipped, expected):
    inputs = keras.Input((8, 8, 3))
    (ends,) = pairs(keras.Model(inputs, layers.Conv2D(2, 3)(clipped(inputs))))
    assert ends == [pytest.approx(expected, abs=2e-5)]


def test_what_comes_after_weights_plays_no_part():
    inputs = keras.Input((4,))
    x = layers.Rescaling(0.5)(layers.Dense(2)(inputs))
    assert pairs(keras.Model(inputs, x)) == [[[1.0, 0.0]]]
    first = layers.BatchNormalization()(inputs)
    assert pairs(keras.Model(inputs, layers.Rescaling(3.0)(first))) == [[[1.0, 0.0]]]


def test_operations_and_functions_of_keras_are_followed():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(2, 3)(inputs / 127.5 - 1)
    assert pairs(keras.Model(inputs, x)) == [pytest.approx(np.array([[1 / 127.5, -1.0]]), abs=1e-5)]
    x = layers.Conv2D(2, 3)(keras.applications.imagenet_utils.preprocess_input(inputs, mode="caffe"))
    (found,) = pairs(keras.Model(inputs, x))
    # x - (103.939, 116.779, 123.68), in the order BGR
    np.testing.assert_allclose(found, [[1, -123.68], [1, -116.779], [1, -103.939]], rtol=1e-5)


def test_each_input_and_each_branch_by_itself():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    joined = layers.Concatenate()([layers.Rescaling(2.0)(b), layers.Rescaling(3.0, 1.0)(a)])
    by_input = ends_of(keras.Model([b, a], layers.Dense(2)(joined)))
    assert [[end.pairs().tolist() for end in ends] for ends in by_input] == [[[[3.0, 1.0]]], [[[2.0, 0.0]]]]
    branches = layers.Add()([layers.Dense(2)(a), layers.Dense(2)(layers.Rescaling(2.0)(a))])
    assert sorted(pairs(keras.Model(a, branches))) == [[[1.0, 0.0]], [[2.0, 0.0]]]


def test_integers_and_open_axes():
    ids = keras.Input((3,), dtype="int32")
    assert [end.changes for end in ends_of(keras.Model(ids, layers.Embedding(4, 2)(ids)))[0]] == []
    bytes_ = keras.Input((None, None, 3), dtype="uint8")
    x = layers.Conv2D(2, 3)(layers.Rescaling(1 / 255)(bytes_))
    model = keras.Model(bytes_, layers.GlobalAveragePooling2D()(x))
    ((end,),) = ends_of(model, None)
    assert end.changes and end.pairs().tolist() == [pytest.approx([1 / 255, 0.0])]


def test_a_product_with_itself_is_no_rescaling():
    inputs = keras.Input((4,))
    ((end,),) = ends_of(keras.Model(inputs, layers.Dense(2)(inputs * inputs)))
    assert not end.changes
