"""The signatures of a part, as functions and as the converter takes them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from kerasft.export.on_device.losses import SOFTMAX, Loss
from kerasft.export.on_device.optimizers import rule_of
from kerasft.export.on_device.part import part_of
from kerasft.export.on_device.program import ONE, Program, output_of, saved_program


@pytest.fixture
def made():
    inputs = keras.Input((4,))
    x = layers.Dense(5, activation="relu", name="hidden")(layers.Dense(6)(inputs))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax", name="top")(x))
    program = Program(part_of(model, "hidden"), Loss(SOFTMAX, True), rule_of(model, "adam"))
    return program, model


def test_the_state(made):
    program, model = made
    names = ["hidden_kernel", "hidden_bias", "top_kernel", "top_bias"]
    assert list(program.weights) == names
    assert list(program.state) == [*names, *(f"{n}_{s}" for n in names for s in ("m", "v")), "step"]
    np.testing.assert_array_equal(program.weights["hidden_kernel"], model.get_layer("hidden").kernel)
    assert not any(value.any() for value in program.slots.values())


def test_scores_are_the_models(made):
    program, model = made
    x = np.random.default_rng(0).normal(size=(7, 4)).astype("float32")
    scores = program.scores(program.part.features(x), program.weights)
    np.testing.assert_allclose(scores, model(x), atol=1e-6)


def test_gradients_are_the_tapes(made):
    program, model = made
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(7, 4)).astype("float32"), np.eye(7, 3, dtype="float32")
    with tf.GradientTape() as tape:
        loss = keras.losses.CategoricalCrossentropy()(target, model(x))
    wanted = tape.gradient(loss, [v.value for v in program.part.weights.values()])
    value, found = program.gradients(program.part.features(x), target, program.weights)
    np.testing.assert_allclose(value, loss, rtol=1e-5)
    for got, expected in zip(found.values(), wanted):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("batch", [None, 5])
def test_signatures_by_name_and_shape(made, batch):
    program, model = made
    with saved_program(program.signatures(batch, output_of(model))) as folder:
        loaded = tf.saved_model.load(str(folder))
        shapes = {
            key: {name: tuple(spec.shape) for name, spec in f.structured_input_signature[1].items()}
            for key, f in loaded.signatures.items()
        }
        assert set(shapes) == {"train", "scores", ONE}
        weights = {name: value.shape for name, value in program.weights.items()}
        assert shapes["scores"] == {"features": (None, 6), **weights}
        assert shapes[ONE] == {"features": (1, 6), **weights}
        slots = {name: value.shape for name, value in program.slots.items()}
        assert shapes["train"] == {
            "features": (batch, 6), "target": (batch, 3), "learning_rate": (1,), **weights, **slots,
        }  # fmt: skip
        given = {"features": np.ones((5, 6), "float32"), "target": np.eye(5, 3, dtype="float32"),
                 "learning_rate": np.float32([0.1]), **program.state}  # fmt: skip
        out = loaded.signatures["train"](**{k: tf.constant(v) for k, v in given.items()})
        assert set(out) == {"loss", *program.state} and out["loss"].shape == (1,)
        assert out["step"].numpy() == [1.0]
    assert not folder.exists()
