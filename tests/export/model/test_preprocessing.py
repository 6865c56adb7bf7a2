"""Preprocessing inside a graph: described, and the range of inputs that it implies."""

import keras
import numpy as np
import pytest
from kerasft.export.model.preprocessing import Preprocessing, channel_values, check_span
from kerasft.export.model.signature import input_names, serving_of

layers = keras.layers


def of(model):
    return Preprocessing.of(model, serving_of(model, 1))


def decided(model):
    (name,) = input_names(model)
    return of(model).decided(name)


def vectors(*before):
    return keras.Sequential([keras.Input((2,)), *before, layers.Dense(2)])


def pictures(*before):
    return keras.Sequential(
        [keras.Input((8, 8, 3), name="image"), *before, layers.Conv2D(2, 3), layers.GlobalAveragePooling2D()]
    )


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ([layers.Rescaling(1 / 255)], (0, 255)),
        ([layers.Rescaling(1 / 127.5, -1)], (0, 255)),
        ([layers.Rescaling(1 / 128, -127 / 128)], (0, 255)),
        ([layers.Rescaling(1 / 255, -0.5)], (0, 255)),
        ([layers.Rescaling(2.0, -1.0)], (0, 1)),  # 0..1 becomes -1..1
        ([layers.Rescaling(255.0)], (0, 1)),
        ([layers.Rescaling(0.5, 0.5)], (-1, 1)),  # -1..1 becomes 0..1
        ([layers.Rescaling(127.5, 127.5)], (-1, 1)),
        ([keras.Sequential([layers.Rescaling(1 / 255)])], (0, 255)),
        ([layers.Lambda(lambda x: x / 127.5 - 1)], (0, 255)),
        ([layers.ReLU(255.0), layers.Rescaling(1 / 127.5, -1)], (0, 255)),
        ([layers.ReLU(1.0), layers.Rescaling(2.0, -1)], (0, 1)),
        ([layers.Rescaling(1.0)], None),
        ([layers.Rescaling(0.5)], None),  # 0..1 becomes 0..0.5, -1..1 becomes -0.5..0.5
        ([layers.Rescaling(0.01)], None),
        ([layers.Rescaling(1 / 255, 3.0)], None),
        ([layers.Rescaling([1 / 255, 1 / 250])], None),
        ([layers.Rescaling(1 / 255), layers.Rescaling(1 / 255)], None),
        ([layers.Normalization(mean=1.0, variance=1.0)], None),
        ([layers.Normalization(mean=120.0, variance=3600.0)], None),  # blood pressures, say
        ([], None),
    ],
)
def test_the_range_shows_in_the_arithmetic_or_stays_open(before, expected):
    model = vectors(*before)
    assert decided(model) == expected


def test_rescaling_after_the_first_weights_is_no_preprocessing():
    inputs = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(inputs))
    model = keras.Model(inputs, layers.Softmax()(layers.Rescaling(0.5)(x)))  # a temperature of 2
    found = of(model)
    assert not found.inside and found.describe(None) == "none"
    assert found.describe((1.0, 2.0)) == "by the client: (x - 1.0) / 2.0"
    inputs = keras.Input((8, 8, 3))
    x = layers.Rescaling(1 / 255)(layers.Conv2D(2, 3)(layers.Rescaling(2.0, -1.0)(inputs)))
    assert decided(keras.Model(inputs, x)) == (0, 1)


@pytest.mark.parametrize(("mode", "expected"), [("tf", (0, 255)), ("torch", (0, 255)), ("caffe", (0, 255))])
def test_the_preprocessing_of_keras_applications(mode, expected):
    inputs = keras.Input((8, 8, 3))
    x = keras.applications.imagenet_utils.preprocess_input(inputs, mode=mode)
    assert decided(keras.Model(inputs, layers.Conv2D(2, 3)(x))) == expected


def test_a_normalization_of_pictures_decides_where_one_range_alone_has_such_a_mean_and_spread():
    def normalized(mean, std):
        return pictures(layers.Normalization(mean=[mean] * 3, variance=[std**2] * 3))

    assert decided(normalized(120.0, 60.0)) == (0, 255)
    model = normalized(0.48, 0.25)  # of 0..1 or of -1..1
    found = of(model)
    assert found.decided("image") is None and found.readings("image") == ((0, 1), (-1, 1))
    assert found.by_data("image", (0.0, 1.0)) == (0, 1)
    assert found.by_data("image", (-0.9, 1.0)) == (-1, 1)
    assert found.by_data("image", (0.1, 0.5)) is None  # dark pictures of either
    question = found.open_question("image")
    # (0 - 0.48) / 0.25 = -1.92, (1 - 0.48) / 0.25 = 2.08, (-1 - 0.48) / 0.25 = -5.92
    assert "of 0 to 1 it makes -1.92 to 2.08; of -1 to 1 it makes -5.92 to 2.08" in question
    assert of(normalized(120.0, 60.0)).open_question("image") is None


def test_branches_have_to_agree():
    inputs = keras.Input((8, 8, 3), name="image")

    def branches(*layers_):
        return keras.Model(inputs, layers.Add()([layers.Conv2D(2, 3)(layer(inputs)) for layer in layers_]))

    bytes_, unit = layers.Rescaling(1 / 255), layers.Rescaling(2.0, -1.0)
    assert decided(branches(bytes_, layers.Rescaling(1 / 127.5, -1))) == (0, 255)
    assert decided(branches(bytes_, layers.Identity())) == (0, 255)
    assert decided(branches(bytes_, unit)) is None
    assert "no usual range fits" in of(branches(bytes_, unit)).open_question("image")


def test_layers_inside_nested_models_are_found_and_described():
    inner = keras.Sequential([keras.Input((3,)), layers.Rescaling(0.5, offset=1.0)])
    inputs = keras.Input((3,))
    model = keras.Model(inputs, layers.Dense(2)(inner(inputs)))
    assert of(model).describe(None) == "in the graph: Rescaling(scale=0.5, offset=1.0)"
    with pytest.raises(ValueError, match="would be applied twice"):
        of(model).describe((1.0, 2.0))
    by_hand = keras.Model(inputs, layers.Dense(2)(inputs / 4 - 1))
    assert of(by_hand).describe(None) == "in the graph: x * 0.25 - 1"


def test_inputs_from_which_the_graph_makes_a_value():
    model = vectors(layers.Normalization(mean=[10.0, 20.0], variance=[4.0, 9.0]))
    (name,) = input_names(model)
    value = of(model).before(name, np.array([[1.0, -1.0]]))
    np.testing.assert_allclose(value, [[12.0, 17.0]], rtol=1e-6)  # 10 + 1 * 2, 20 - 1 * 3
    plain = vectors()
    assert of(plain).before(input_names(plain)[0], np.array([[1.0, -1.0]])).tolist() == [[1.0, -1.0]]


@pytest.mark.parametrize(
    ("span", "fits"),
    [
        ((0, 255), True),
        ((-5, 260), True),
        ((100, 160), True),
        ((0, 1), False),
        ((-20, 200), False),
        ((0, 300), False),
    ],
)
def test_data_are_held_against_the_range(span, fits):
    if fits:
        check_span("data", span, (0.0, 255.0))
        return
    with pytest.raises(ValueError, match=r"data run from .* but the graph expects 0 to 255.*input_range="):
        check_span("data", span, (0.0, 255.0))


def test_channels_are_plain_numbers():
    assert channel_values(np.float32(2)) == 2.0 and channel_values([1, 2]) == (1.0, 2.0)
    assert type(channel_values(np.float32(2))) is float
