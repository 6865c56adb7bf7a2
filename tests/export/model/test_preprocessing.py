"""Preprocessing inside a graph, found and described."""

import keras
import numpy as np
import pytest
from kerasft.export.model.preprocessing import (
    channel_values,
    describe_preprocessing,
    expected_range,
    rescaling,
)
from kerasft.export.model.samples import is_classifier


@pytest.mark.parametrize(
    ("layers", "given", "expected"),
    [
        ([keras.layers.Rescaling(1 / 255)], None, (0.0, 255.0)),
        ([keras.layers.Rescaling(1 / 127.5, -1)], None, (0.0, 255.0)),
        ([keras.layers.Rescaling(1 / 128, -127 / 128)], None, (-1.0, 255.0)),
        ([keras.layers.Rescaling(1.0)], None, None),
        ([keras.layers.Rescaling(1 / 255, 3.0)], None, None),
        ([keras.layers.Rescaling([1 / 255, 1 / 250])], None, None),
        ([keras.layers.Rescaling(1 / 255), keras.layers.Rescaling(1 / 255)], None, None),
        ([keras.Sequential([keras.layers.Rescaling(1 / 255)])], None, (0.0, 255.0)),
        ([keras.layers.Normalization(mean=1.0, variance=1.0)], None, None),
        ([], None, None),
        ([keras.layers.Rescaling(1 / 255)], (-1, 1), (-1.0, 1.0)),
    ],
)
def test_the_range_of_pixels_shows_in_the_rescaling(layers, given, expected):
    model = keras.Sequential([keras.Input((2,)), *layers, keras.layers.Dense(2)])
    found = expected_range(model, given)
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-3))
    assert is_classifier(model)
    assert not is_classifier(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))


def test_layers_inside_nested_models_are_found_and_described():
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Rescaling(0.5, offset=1.0)])
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inner(inputs)))
    assert [type(layer).__name__ for layer in rescaling(model)] == ["Rescaling"]
    assert describe_preprocessing(model, None) == "in the graph: Rescaling(scale=0.5, offset=1.0)"
    with pytest.raises(ValueError, match="would be applied twice"):
        describe_preprocessing(model, (1.0, 2.0))


def test_channels_are_plain_numbers():
    assert channel_values(np.float32(2)) == 2.0 and channel_values([1, 2]) == (1.0, 2.0)
    assert type(channel_values(np.float32(2))) is float
