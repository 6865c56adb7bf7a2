"""The range of each input, of several inputs and of a model by itself."""

import keras
import numpy as np
import pytest
from kerasft.export.model.ranges import implied_range
from kerasft.export.model.subject import Subject

layers = keras.layers


def test_what_a_model_implies():
    def model(*before):
        return keras.Sequential([keras.Input((4,)), *before, layers.Dense(2)])

    assert implied_range(model(layers.Rescaling(2.0, -1.0))) == (0, 1)
    assert implied_range(model()) is None
    with pytest.raises(ValueError, match=r"x \* 0\.5"):
        implied_range(model(layers.Rescaling(0.5)))


def test_each_input_is_held_against_its_own_range():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    joined = layers.Concatenate()([layers.Rescaling(1 / 255)(a), layers.Rescaling(2.0, -1.0)(b)])
    model = keras.Model([a, b], layers.Dense(2)(joined))
    rng = np.random.default_rng(0)
    bytes_, unit = (rng.uniform(0, high, (40, 4)).astype("float32") for high in (255, 1))
    subject = Subject.of(model, holdout=[bytes_, unit])
    assert subject.input_range is None and subject.range_question is None  # they have one each
    with pytest.raises(ValueError, match=r"inputs for 'a' run from .* to 0.* expects 0 to 255"):
        Subject.of(model, holdout=[unit, bytes_])
    (sample, *_) = Subject.of(model).samples
    assert sample["a"].max() > 1 >= sample["b"].max()


def test_a_range_that_is_not_the_graphs_needs_data_that_show_it():
    model = keras.Sequential([keras.Input((4,), name="x"), layers.Rescaling(1 / 255), layers.Dense(2)])
    with pytest.raises(
        ValueError, match=r"input_range is \(0.0, 1.0\), but .* x \* 0.003922 .* for 0 to 255"
    ):
        Subject.of(model, input_range=(0, 1))
    for near in ((0, 255), (0, 254), (10, 200)):
        assert Subject.of(model, input_range=near).input_range == near
    unit = np.random.default_rng(0).uniform(0, 1, (40, 4)).astype("float32")
    assert Subject.of(model, input_range=(0, 1), holdout=unit).input_range == (
        0,
        1,
    )  # as it was trained, then
