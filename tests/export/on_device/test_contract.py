"""The contract of a trainable file finds what it forbids."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from kerasft.export.on_device import contract
from kerasft.export.on_device.contract import (
    check_operations,
    check_size,
    check_steps,
    keras_head,
    keras_steps,
    made_up_targets,
)
from kerasft.export.on_device.losses import LOSSES, SIGMOID, SOFTMAX, SQUARES, Loss
from kerasft.export.on_device.optimizers import rule_of
from kerasft.export.on_device.part import part_of
from kerasft.export.on_device.program import Program

from kerasft import export


def converted(function, *specs, custom=False):
    traced = tf.function(function).get_concrete_function(*specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced])
    converter.allow_custom_ops = custom
    converter.experimental_enable_resource_variables = True
    return converter.convert()


SPEC = tf.TensorSpec((1, 4), tf.float32)


def test_operations_that_are_not_built_in_are_found():
    plain = converted(lambda x: x * 2.0, SPEC)
    check_operations(plain)
    content = converted(lambda x: tf.math.igamma(x, x), SPEC, custom=True)
    with pytest.raises(export.ExportError, match="not built in: .*Igamma"):
        check_operations(content)


def test_a_state_is_found(tmp_path):
    class Counter(tf.Module):
        def __init__(self):
            self.count = tf.Variable(tf.zeros((1, 4)))

        @tf.function(input_signature=[SPEC])
        def __call__(self, x):
            self.count.assign_add(x)
            return {"count": self.count.read_value()}

    module = Counter()
    tf.saved_model.save(module, str(tmp_path), signatures=module.__call__)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path))
    converter.experimental_enable_resource_variables = True
    with pytest.raises(export.ExportError, match="state of its own, by .*'ASSIGN_VARIABLE'.*'VAR_HANDLE'"):
        check_operations(converter.convert())


def test_a_file_that_is_too_large():
    content = converted(
        lambda x: x @ tf.constant(np.random.default_rng(0).normal(size=(4, 900)), tf.float32), SPEC
    )
    check_size(content, len(content))
    with pytest.raises(export.ExportError, match="its size"):
        check_size(content, len(content) - 4 * 4 * 900)


def program(loss=SOFTMAX, activation="softmax"):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5,))
    x = layers.BatchNormalization(name="norm")(layers.Dense(6)(inputs))
    x = layers.Dropout(0.9)(layers.Dense(4, activation="tanh", kernel_regularizer="l1l2", name="mid")(x))
    x = layers.Dense(4, name="off", trainable=False)(x)
    model = keras.Model(inputs, layers.Dense(3, activation=activation, name="top")(x))
    for v in model.get_layer("norm").weights:
        v.assign(np.random.default_rng(1).uniform(0.5, 1.5, v.shape))
    model.compile("sgd")
    return Program(part_of(model, "norm"), Loss(loss, activation is not None), rule_of(model)), model


def test_the_reference_is_the_part_in_inference():
    made, model = program()
    head, weights = keras_head(made)
    x = np.random.default_rng(0).normal(size=(7, 6)).astype("float32")
    wanted = keras.Model(model.get_layer("norm").input, model.output)(x, training=False)
    for training in (False, True):  # no noise, and statistics that stay
        np.testing.assert_allclose(head(x, training=training), wanted, atol=1e-6)
    assert {name for name, v in weights.items() if v.trainable} == set(made.weights)


def test_gradients_with_penalties_are_those_of_the_tape():
    made, _ = program()
    head, weights = keras_head(made)
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(7, 6)).astype("float32"), np.eye(7, 3, dtype="float32")
    with tf.GradientTape() as tape:
        loss = keras.losses.CategoricalCrossentropy()(target, head(x)) + sum(head.losses)
    wanted = tape.gradient(loss, [weights[name].value for name in made.weights])
    value, found = made.gradients(tf.constant(x), tf.constant(target), made.weights)
    np.testing.assert_allclose(value, loss, rtol=1e-5)
    for name, expected in zip(made.weights, wanted):
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-6, err_msg=name)


def test_steps_of_the_reference_are_those_of_fit():
    made, _ = program()
    head, weights = keras_head(made)
    x = np.random.default_rng(0).normal(size=(7, 6)).astype("float32")
    targets = made_up_targets(made, (7, 3))
    found = keras_steps(made, x, targets, 0.01, steps=5)
    head.compile(keras.optimizers.SGD(0.01), "categorical_crossentropy", jit_compile=False)
    history = head.fit(x, targets, batch_size=7, epochs=5, shuffle=False, verbose=0).history["loss"]
    np.testing.assert_allclose(found.pop("loss"), history, rtol=1e-6)
    for name, value in found.items():
        np.testing.assert_allclose(value, weights[name].numpy(), atol=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_made_up_targets(name):
    made, _ = program(name, {SOFTMAX: "softmax", SIGMOID: "sigmoid"}.get(name))
    targets = made_up_targets(made, (40, 3))
    assert targets.shape == (40, 3) and targets.dtype == "float32"
    np.testing.assert_array_equal(targets, made_up_targets(made, (40, 3)))
    if name == SOFTMAX:
        np.testing.assert_array_equal(targets.sum(1), 1)
        assert targets.any(0).all()
    assert set(np.unique(targets)) == {0, 1} if name != SQUARES else len(np.unique(targets)) > 100


def off_by(difference):
    """Steps of Keras, in which one weight differs by a share of the largest."""

    def steps(run, made, features, targets, rate):
        found = {k: v.copy() for k, v in keras_steps(made, features, targets, rate).items()}
        found["mid_kernel"][0, 0] += difference * np.abs(found["mid_kernel"]).max()
        return found

    return steps


def test_what_rounding_explains_is_allowed(monkeypatch, tmp_path):
    made, _ = program()
    x = np.random.default_rng(0).normal(size=(7, 6)).astype("float32")
    monkeypatch.setattr(contract, "LiteRTModel", lambda path, signature: None)
    for difference, allowed, error in (
        (0.0, 16, None),
        (2e-5, 16, "largest difference"),
        (2e-5, 1e6, None),
        (1e-3, 1e6, "root mean square"),
    ):
        monkeypatch.setattr(contract, "file_steps", off_by(difference))
        monkeypatch.setattr(contract, "_ROUNDINGS", allowed)
        if error:
            with pytest.raises(export.ExportError, match=f"the {error}.*from Keras's own after 50 steps"):
                check_steps(tmp_path, made, x, (7, 3))
        else:
            found, rate, rounding = check_steps(tmp_path, made, x, (7, 3))
            assert found.max_relative == pytest.approx(difference, rel=0.05) and rate == pytest.approx(0.01)
            assert (rounding is None) == (difference == 0.0)
            assert rounding is None or 0 < rounding < 1e-5


def test_a_rate_at_which_steps_run_away_is_made_smaller(monkeypatch, tmp_path):
    made, _ = program(SQUARES, None)
    object.__setattr__(made.rule, "learning_rate", 1e4)
    x = np.random.default_rng(0).normal(size=(7, 6)).astype("float32")
    monkeypatch.setattr(contract, "LiteRTModel", lambda path, signature: None)
    monkeypatch.setattr(contract, "file_steps", off_by(0.0))
    _, rate, _ = check_steps(tmp_path, made, x, (7, 3))
    assert 1e-4 < rate < 1e2
    object.__setattr__(made.rule, "learning_rate", np.inf)
    with pytest.raises(export.ExportError, match="raise the loss at every rate"):
        check_steps(tmp_path, made, x, (7, 3))
