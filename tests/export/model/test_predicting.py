"""Samples on which `predict` and the call are compared."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from kerasft.export import ExportError
from kerasft.export.model.predicting import alike, called_on, first_inputs, is_text, predicted_by, sizes_of
from small_models import classifier, images


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        (["a"], True), (np.array(["a"]), True), (np.array(["a"], object), True), (tf.constant(["a"]), True),
        ({"text": tf.constant(["a"])}, True), ((["a"], ["b"]), True), (b"a", True),
        ([1], False), (np.array([1.0]), False), (np.array([1], object), False), (tf.constant([1]), False),
        ({"ids": np.zeros((1, 2))}, False), ([], False), (np.array([]), False),
    ],
)  # fmt: skip
def test_what_text_is(inputs, text):
    assert is_text(inputs) is text


def test_the_first_few_samples_of_any_structure():
    x = np.arange(6)
    assert first_inputs([]) is None
    assert first_inputs([(list("abcdef"), x)]) == list("abcd")
    given = first_inputs([lambda: iter([({"a": x, "b": [x, x]}, x)])])
    np.testing.assert_array_equal(given["a"], x[:4])
    np.testing.assert_array_equal(given["b"], [x[:4], x[:4]])
    assert sizes_of([(np.zeros((2, 3, 4)), x[:2]), np.zeros((1, 3, 5))], np.zeros((1, 3, 4))) == [(3, None)]


def test_alike_by_the_largest_value():
    a = np.array([[1000.0, 1.0]])
    assert alike([a], [a + 0.5], 1e-3) and not alike([a], [a + 2.5], 1e-3)
    assert not alike([a], [a[0]], 1e-3) and not alike(None, [a], 1.0) and not alike([a, a], [a], 1.0)
    assert alike([np.array([1])], [np.array([1])], 0.0) and not alike([np.array([1])], [np.array([2])], 9.0)
    nan = np.array([np.nan, 1.0])
    assert alike([nan], [nan], 1e-3) and not alike([nan], [np.array([1.0, 1.0])], 1e-3)


def test_both_sides_of_a_model():
    model, (x, _) = classifier(), images(4)
    np.testing.assert_allclose(predicted_by(model, x, "predict")[0], called_on(model, x)[0], atol=1e-6)
    assert called_on(model, x[:, :4]) is None
    with pytest.raises(ExportError, match=r"predict fails on the data, which it takes through its lens"):
        predicted_by(keras.Model(model.input, model.output), x[:, :4], "its lens")
