"""Models whose `predict` does something outside their call: files give what it gives, or are refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from kerasft import export

RNG = np.random.default_rng(0)
X = (
    RNG.uniform(0, 255, (48, 12, 12, 3)) * np.array([1, 0.4])[np.arange(48) % 2][:, None, None, None]
).astype("float32")
Y = np.arange(48) % 2


class Step(keras.Model):
    """A model that rescales and takes a softmax in its own predict_step."""

    def predict_step(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return keras.ops.softmax(self(x / 255.0, training=False))


class Predict(keras.Model):
    def predict(self, x, **options):
        return super().predict(x / 255.0, **options)


class MakeFunction(keras.Model):
    def make_predict_function(self, force=False):
        super().make_predict_function(force)
        inner = self.predict_function
        self.predict_function = lambda iterator: 2 * inner(iterator)
        return self.predict_function


class Steps(keras.Model):
    """A model that rescales in its own training and test steps, and in no other place."""

    def train_step(self, data):
        return super().train_step(rescaled(data))

    def test_step(self, data):
        return super().test_step(rescaled(data))


def rescaled(data):
    x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
    return x / 255.0 - 0.5, y, weights


class Harmless(Step):
    """A predict_step that computes what the call does."""

    def predict_step(self, data):
        return self(data, training=False)


def built(kind):
    keras.utils.set_random_seed(0)
    image = keras.Input((12, 12, 3), name="image")
    x = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(image)
    model = kind(image, keras.layers.Dense(2, name="scores")(keras.layers.Flatten()(x)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    return model


def ran(path, x):
    """What a file gives for each sample."""
    run = Interpreter(str(path)).get_signature_runner()
    (name,) = run.get_input_details()
    return np.concatenate([run(**{name: row[None]})["scores"] for row in x])


def test_a_step_of_its_own_is_in_the_file(tmp_path):
    model = built(Step)
    expected = model.predict(X, verbose=0)
    assert np.abs(expected - model(X)).max() > 1
    for data in ({}, {"holdout": (X, Y)}):
        report = export.to_tflite(model, tmp_path / "model.tflite", overwrite=True, **data)
        np.testing.assert_allclose(ran(report.path, X), expected, atol=1e-5)
        assert report.preprocessing.startswith("in the graph: predict_step")
    right = np.mean(expected.argmax(1) == Y)
    assert report.quality.accuracy_model == pytest.approx(right) == report.quality.accuracy_file
    with pytest.raises(ValueError, match="predict_step of its own.*reusable=False"):
        export.to_saved_model(model, tmp_path / "saved")
    served = tf.saved_model.load(str(export.to_saved_model(model, tmp_path / "saved", reusable=False)))
    np.testing.assert_allclose(
        served.signatures["serving_default"](tf.constant(X))["scores"], expected, atol=1e-6
    )


@pytest.mark.parametrize(("kind", "named"), [(Predict, "predict"), (MakeFunction, "make_predict_function")])
def test_what_cannot_be_built_in_is_refused_by_name(kind, named, tmp_path):
    model = built(kind)
    assert np.abs(model.predict(X, verbose=0) - model(X)).max() > 0.1
    message = rf"its own {named} does something to the data.*keras.Model\(model.input, model.output\)"
    for data in ({}, {"holdout": (X, Y)}):
        with pytest.raises(export.ExportError, match=message):
            export.to_tflite(model, tmp_path / "model.tflite", **data)
    with pytest.raises(export.ExportError, match=message):
        export.ladder(model, tmp_path / "ladder", holdout=(X, Y))
    with pytest.raises(export.ExportError, match=message):
        export.to_saved_model(model, tmp_path / "saved")
    assert not list(tmp_path.iterdir())
    plain = keras.Model(model.input, model.output)  # as the message says
    export.to_tflite(plain, tmp_path / "model.tflite", holdout=(X / 255, Y))
    np.testing.assert_allclose(ran(tmp_path / "model.tflite", X / 255), model(X / 255), atol=1e-5)


def test_a_test_step_that_measures_something_else_is_refused(tmp_path):
    model = built(Steps)
    model.fit(X, Y, epochs=30, verbose=0)
    accuracy = model.evaluate(X, Y, verbose=0)[1]
    assert accuracy > 0.9 > np.mean(model.predict(X, verbose=0).argmax(1) == Y) + 0.2
    with pytest.raises(export.ExportError, match=f"accuracy {accuracy:.4f} by its own test_step"):
        export.to_tflite(model, tmp_path / "model.tflite", holdout=(X, Y))
    assert not list(tmp_path.iterdir())


def test_what_changes_nothing_stays_out(tmp_path):
    model = built(Harmless)
    plain = built(keras.Model)
    plain.preprocessor = keras.layers.Rescaling(1 / 255)  # which Keras's own predict does not run
    for net in (model, plain):
        expected = net.predict(X, verbose=0)
        report = export.to_tflite(net, tmp_path / "model.tflite", holdout=(X, Y), overwrite=True)
        np.testing.assert_allclose(ran(report.path, X), expected, rtol=1e-4, atol=1e-3)
        assert report.preprocessing == "none"
        export.to_saved_model(net, tmp_path / "saved", overwrite=True)
