"""Which loss fits targets and an output: a table by hand, the values of the losses, and what is stored."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasft.search.loss.guess import decide, guess_for, read_guess, write_guess
from kerasft.search.loss.output import Output
from kerasft.search.loss.targets import Targets

IDS, AGES = [0, 1, 2], [23, 54, 31]
SPARSE, ONE_HOT, BINARY, SQUARES = (
    "SparseCategoricalCrossentropy", "CategoricalCrossentropy", "BinaryCrossentropy", "MeanSquaredError",
)  # fmt: skip
OPEN, UNIT, SHARES = "open", "unit", "distribution"


def column(values):
    return np.array(values)[:, None]


@pytest.mark.parametrize(
    ("units", "kind", "values", "expected"),
    [
        # one unit
        (1, OPEN, AGES, (SQUARES, None)),  # the integers that once got cross-entropy
        (1, OPEN, column(AGES), (SQUARES, None)),
        (1, OPEN, [0, 1, 2], (SQUARES, None)),
        (1, OPEN, [0.5, 0.25], (SQUARES, None)),
        (1, OPEN, np.array([True, False]), (BINARY, True)),
        (1, UNIT, [0, 1], (BINARY, False)),
        (1, UNIT, [0.0, 1.0], (BINARY, False)),
        (1, UNIT, column([0.0, 1.0]), (BINARY, False)),
        # class ids
        (3, SHARES, IDS, (SPARSE, False)),
        (3, OPEN, IDS, (SPARSE, True)),
        (3, OPEN, column(IDS), (SPARSE, True)),
        (3, OPEN, [0.0, 1.0, 2.0], (SPARSE, True)),
        (3, OPEN, np.array([0, 2], "uint8"), (SPARSE, True)),
        # a target for each unit
        (3, SHARES, np.eye(3), (ONE_HOT, False)),
        (3, OPEN, np.eye(3), (ONE_HOT, True)),
        (3, OPEN, np.eye(3, dtype="int32"), (ONE_HOT, True)),
        (2, SHARES, [[0.2, 0.8], [0.5, 0.5]], (ONE_HOT, False)),
        (3, UNIT, np.eye(3), (BINARY, False)),
        (3, UNIT, [[1, 1, 0], [0, 0, 0]], (BINARY, False)),
        (3, OPEN, [[1.5, 2.0, 0.1]], (SQUARES, None)),
        (3, OPEN, [[7, 0, 2]], (SQUARES, None)),
    ],
)
def test_the_loss_that_fits(units, kind, values, expected):
    loss = decide(Output((units,), kind), Targets.of(values)).loss
    assert (type(loss).__name__, loss.get_config().get("from_logits")) == expected


@pytest.mark.parametrize(
    ("units", "kind", "values", "readings"),
    [
        (1, OPEN, [0, 1, 1], ("BinaryCrossentropy(from_logits=True)", 'loss="mse"')),
        (1, OPEN, [0.0, 1.0], ("BinaryCrossentropy(from_logits=True)", 'loss="mse"')),
        (1, OPEN, [-1, 1], ('loss="hinge"', 'loss="mse"')),
        (1, UNIT, [0.5, 0.25], ("binary_crossentropy", 'loss="mse"')),
        (1, UNIT, AGES, ("never reaches them", "without an activation")),
        (1, UNIT, [-1, 1], ("never reaches them", "0 and 1")),
        (1, "fixed", [0, 1], ("always the same number", "sigmoid is meant")),
        (3, UNIT, IDS, ("end the model with softmax", "3 columns of 0 and 1")),
        (3, OPEN, [1, 2, 3], ("from 0 to 2", "one of 4")),
        (3, OPEN, [-1, 0, 1], ("from 0 to 2", "one unit")),
        (3, SHARES, AGES, ("from 23 to 54", "one unit")),
        (3, OPEN, [0.5, 1.0], ("whole numbers from 0 to 2", "one unit")),
        (3, OPEN, [[1, 1, 0]], ("BinaryCrossentropy(from_logits=True)", 'loss="mse"')),
        (2, OPEN, [[0.2, 0.8]], ("CategoricalCrossentropy(from_logits=True)", 'loss="mse"')),
        (3, SHARES, [[1, 1, 0]], ("sum to 1", "sigmoid")),
        (3, SHARES, [[2.0, 0.5, 9.0]], ("sum to 1", "no activation")),
        (1, OPEN, [[1.0, 2.0]], ("shape (1,)", "its targets (2,)")),
        (3, OPEN, [[1.0, 2.0]], ("shape (3,)", "its targets (2,)")),
    ],
)
def test_where_none_or_several_fit_all_are_named_and_none_is_taken(units, kind, values, readings):
    with pytest.raises(ValueError) as raised:
        decide(Output((units,), kind), Targets.of(values))
    for reading in readings:
        assert reading in str(raised.value)


def test_maps_of_labels():
    steps = np.zeros((5, 3), "int64")  # three steps, three classes each: no one-hot rows
    assert decide(Output((3, 3), OPEN), Targets.of(steps)).loss.name == "sparse_categorical_crossentropy"
    masks = np.array([[[0, 1], [1, 1]]])
    assert decide(Output((2, 2, 1), UNIT), Targets.of(masks)).loss.name == "binary_crossentropy"


def net(units, activation=None):
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(units, activation=activation)], name="net")


def data(y):
    return {"x": np.ones((len(y), 4), "float32"), "y": np.array(y)}


def test_losses_and_metrics_are_those_of_the_formulas():
    sparse = guess_for(net(2), data([0, 1])).loss  # softmax of (ln 3, 0) is (3/4, 1/4)
    assert float(sparse(np.array([0]), np.array([[math.log(3), 0.0]]))) == pytest.approx(-math.log(0.75))
    for activation, y, output in (
        ("sigmoid", [0, 1], [[0.6], [0.4]]),
        (None, [True, False], [[0.3], [-0.3]]),
    ):
        model, guess = net(1, activation), None
        guess = guess_for(model, data(y))
        model.compile("sgd", guess.loss, metrics=list(guess.metrics))
        model.compute_metrics(None, np.array([[1.0], [0.0]]), np.array(output))
        assert float(model.get_metrics_result()["accuracy"]) == 1.0
    model = net(3, "sigmoid")
    guess = guess_for(model, data([[1, 1, 0]]))
    model.compile("sgd", guess.loss, metrics=list(guess.metrics))
    model.compute_metrics(None, np.array([[1.0, 1.0, 0.0]]), np.array([[0.9, 0.2, 0.1]]))
    assert float(model.get_metrics_result()["accuracy"]) == pytest.approx(2 / 3)  # the second is wrong


@pytest.mark.parametrize(
    ("activation", "y", "message"),
    [
        ("relu", [-1.3, 0.2, 1.27], "one unit, never below 0, which never reaches them"),
        ("softplus", [-1.3, 0.2, 1.27], "never below 0, which never reaches them"),
        ("tanh", [-0.5, 0.2, 1.3], "never below -1 and never above 1, which never reaches them"),
        ("relu", [-1, 1], "never below 0, which never reaches them"),
        ("relu", [True, False], "which is no logit"),
        ("relu", [0.0, 0.2, 1.27], None),
        ("tanh", [-0.5, 0.2, 0.9], None),
        ("elu", [-0.9, 0.2, 3.0], None),
        (None, [-130.0, 0.2, 127.0], None),
    ],
)
def test_numbers_out_of_the_outputs_range_are_refused_and_those_in_it_are_not(activation, y, message):
    keras.utils.set_random_seed(0)
    model = net(1, activation)
    if message is None:
        assert guess_for(model, data(y)).loss.name == "mean_squared_error"
        return
    with pytest.raises(ValueError, match=message):
        guess_for(model, data(y))


def test_the_refusal_names_the_model_and_the_way_out():
    inputs = keras.Input((4,))
    two = keras.Model(inputs, [keras.layers.Dense(2)(inputs), keras.layers.Dense(2)(inputs)], name="two")
    with pytest.raises(
        ValueError, match=r"'two' is not compiled.*has 2 outputs.*loss=\.\.\..*compile the model"
    ):
        guess_for(two, data([0, 1]))


def test_a_guess_is_stored_whole(tmp_path):
    assert read_guess(tmp_path) is None
    model = net(1, "sigmoid")
    guess = guess_for(model, data([0, 1]))
    write_guess(tmp_path, guess)
    again = read_guess(tmp_path)
    assert again.loss.get_config() == guess.loss.get_config() and again.rule == guess.rule
    assert again.evidence == guess.evidence
    assert [m.get_config() for m in again.metrics] == [m.get_config() for m in guess.metrics]
    write_guess(tmp_path, guess_for(net(3, "softmax"), data([0, 2])))
    assert list(read_guess(tmp_path).metrics) == ["accuracy"]
    for text in ("{", "[]", "{}", "[" * 10**5, json.dumps({"loss": {"class_name": "No"}, "metrics": []})):
        (tmp_path / "compiled.json").write_text(text)
        with pytest.raises(ValueError, match="is damaged"):
            read_guess(tmp_path)


def test_later_targets_that_contradict_the_guess_fail_and_those_that_fit_do_not(tmp_path):
    guess = guess_for(net(1, "sigmoid"), data([0, 1]))
    model, plain = net(1, "sigmoid"), net(1, "sigmoid")
    plain.set_weights(model.get_weights())
    model.compile("sgd", guess.checked())
    plain.compile("sgd", "binary_crossentropy")
    x, good = data([0, 1, 1, 0]).values()
    assert model.evaluate(x, good, verbose=0) == pytest.approx(plain.evaluate(x, good, verbose=0))
    before = model.get_weights()
    with pytest.raises(tf.errors.InvalidArgumentError, match="guessed by.*than whole numbers from 0 to 1"):
        model.fit(x, np.array([0, 1, 2, 0]), verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    model.save(tmp_path / "m.keras")  # as any model with that loss
    assert type(keras.models.load_model(tmp_path / "m.keras").loss) is keras.losses.BinaryCrossentropy
