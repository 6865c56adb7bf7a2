"""Models of mixed and half precision are exported as the float32 models that they are at heart."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers
from kerasft.export.model.float32 import in_float32

from kerasft import export

HALVES = ("mixed_float16", "mixed_bfloat16", "float16")


@pytest.fixture
def policy():
    """Sets the global policy, for one test."""
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy("float32")


def convolutions():
    inputs = keras.Input((8, 8, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3)(inputs)))
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x), name="convolutions")


def nested(cast="float16"):
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Dropout(0.5)(convolutions()(layers.Rescaling(1 / 255)(keras.ops.cast(inputs, cast))))
    return keras.Model(inputs, layers.Dense(3, dtype="float32", name="scores")(x))


def wrapped(cast="float16"):
    inputs = keras.Input((4, 8, 8, 3), name="image")
    x = layers.TimeDistributed(convolutions())(inputs)
    x = layers.Bidirectional(layers.GRU(3, return_sequences=True, unroll=True))(x)
    x = layers.LayerNormalization()(layers.MultiHeadAttention(2, 3)(x, x))
    x = keras.ops.cast(layers.GlobalAveragePooling1D()(x), cast)
    return keras.Model(inputs, layers.Dense(3, name="scores")(x))


def plain():
    return keras.Sequential([keras.Input((6,), name="x"), layers.Dense(4), layers.Dense(2, name="scores")])


@pytest.mark.parametrize("name", HALVES)
@pytest.mark.parametrize("build", [nested, wrapped])
def test_the_file_is_that_of_the_float32_model(policy, tmp_path, build, name):
    policy(name)
    model = build()
    shape = model.inputs[0].shape[1:]
    high = 255 if build is nested else 1  # as its Rescaling takes them
    x = np.random.default_rng(0).uniform(0, high, (16, *shape)).astype("float32")
    model.compile("sgd", "mse", metrics=["mae"])
    model.fit(x, np.ones((16, 3)), verbose=0, batch_size=4)
    kept = [v.numpy().copy() for v in model.variables]
    report = export.to_tflite(model, tmp_path / "model.tflite", holdout=x)

    policy("float32")
    by_hand = build("float32")
    for mine, theirs in zip(by_hand.variables, model.variables, strict=True):
        mine.assign(theirs.numpy().astype(mine.dtype))
    expected = by_hand.predict(x, verbose=0)
    run = Interpreter(str(tmp_path / "model.tflite")).get_signature_runner()
    got = np.concatenate([run(image=image[None])["scores"] for image in x])
    assert np.max(np.abs(got - expected)) <= 1e-5 * np.max(np.abs(expected))
    assert report.parity.max_relative <= 1e-5
    assert "float16" not in report.dtypes and "bfloat16" not in report.dtypes
    assert all(np.array_equal(a, v.numpy()) for a, v in zip(kept, model.variables, strict=True))


def test_a_float32_model_is_taken_as_it_is():
    model = plain()
    assert in_float32(model) is model


class Scaled(layers.Layer):
    """Has a layer of its own, which follows the global policy."""

    def __init__(self, factor, **options):
        super().__init__(**options)
        self.factor, self.dense = factor, layers.Dense(3)

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return self.dense(x) * self.factor


def doubled(x):
    return keras.ops.relu(x) * 2


def test_own_layers_functions_and_lambdas_need_no_registration(policy):
    policy("mixed_float16")
    factor = 5.0
    inputs = keras.Input((4,))
    x = Scaled(2.0)(inputs)
    x = layers.Lambda(lambda x: x * factor)(x)
    x = layers.Lambda(lambda x: keras.ops.tanh(x) + factor)(x)
    x = layers.Dense(4, activation=doubled)(layers.Lambda(doubled)(x))
    model = keras.Model(inputs, layers.Dense(2, activation="relu", dtype="float32")(x))
    model.set_weights([np.abs(w) for w in model.get_weights()])
    rebuilt = in_float32(model)
    assert keras.config.dtype_policy().name == "mixed_float16"
    policy("float32")
    x = np.random.default_rng(0).uniform(0, 1, (8, 4)).astype("float32")
    np.testing.assert_allclose(rebuilt.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-2)
    assert rebuilt.layers[1].dense.compute_dtype == "float32"


def test_two_functions_of_one_name_are_not_mixed_up(policy, tmp_path):
    policy("mixed_float16")

    def other():
        def doubled(x):
            return x * 3

        return doubled

    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, activation=doubled), layers.Dense(4, activation=other())]
    )
    with pytest.raises(export.ExportError, match="two classes or functions named 'doubled'"):
        export.to_tflite(model, tmp_path / "model.tflite")


class Closed(layers.Layer):
    """Can't be built again: its argument is a function, and it has no get_config."""

    def __init__(self, function):
        super().__init__()
        self.function, self.dense = function, layers.Dense(3)

    def call(self, x):
        return self.function(self.dense(x))


def test_a_layer_without_a_config_is_refused_with_what_to_do(policy, tmp_path):
    policy("mixed_bfloat16")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, Closed(lambda x: x + 1)(inputs))
    with pytest.raises(export.ExportError, match=r"half precision.*get_config.*set_weights"):
        export.to_tflite(model, tmp_path / "model.tflite")
    policy("float32")  # and what it says to do works
    inputs = keras.Input((4,))
    again = keras.Model(inputs, Closed(lambda x: x + 1)(inputs))
    again.set_weights([np.asarray(w, "float32") for w in model.get_weights()])
    report = export.to_tflite(again, tmp_path / "model.tflite")
    assert report.parity.max_relative <= 1e-5


def test_other_dtypes_stay():
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, dtype="float64"), layers.Dense(2, dtype="float16")]
    )
    rebuilt = in_float32(model)
    assert [layer.compute_dtype for layer in rebuilt.layers] == ["float64", "float32"]


@pytest.mark.parametrize("mode", ["int8", "int4"])
@pytest.mark.parametrize("wrap", [False, True])
def test_models_that_keras_quantized_are_refused(tmp_path, mode, wrap):
    dense = layers.Dense(4, name="quantized_one")
    inputs = keras.Input((5, 6))
    model = keras.Model(inputs, layers.TimeDistributed(dense)(inputs) if wrap else dense(inputs))
    dense.quantize(mode)
    with pytest.raises(ValueError, match=r"'quantized_one'.*quantized by Keras.*before quantize\(\)"):
        export.to_tflite(model, tmp_path / "model.tflite")
    assert list(tmp_path.iterdir()) == []
