"""What a layer makes impossible is told with its name and a remedy; model and other files stay."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from quantizers import quantizer_part

from kerasft import export

layers = keras.layers
rng = np.random.default_rng(0)


def model_of(layer, shape=(4,), dtype="float32"):
    inputs = keras.Input(shape, name="x", dtype=dtype)
    return keras.Model(inputs, layers.Dense(2, name="top")(layers.Flatten()(layer(inputs))), name="net")


def data(model, count=40):
    shapes = [tuple(n or 6 for n in t.shape[1:]) for t in model.inputs]
    found = [rng.normal(size=(count, *shape)).astype("float32") for shape in shapes]
    return found[0] if len(found) == 1 else found


class Mine(layers.Layer):
    def call(self, inputs, training=None):
        if training is False:
            raise ZeroDivisionError("of my own")
        return inputs


def lambda_of(function, name, shape=(4,)):
    return layers.Lambda(function, output_shape=shape, name=name)


def python(x):
    return tf.ensure_shape(tf.numpy_function(lambda a: 2 * a, [x], tf.float32), (None, 4))


def words(x):
    return layers.Embedding(9, 2)(layers.IntegerLookup(vocabulary=[3, 5], name="words")(x))


def noise(x):
    return x + keras.random.normal((4,), seed=SEED)


def remembering():
    inputs = keras.Input(batch_shape=(1, 6, 4))
    return keras.Model(inputs, layers.LSTM(3, stateful=True, name="memory")(inputs))


def growing():
    inputs = keras.Input((None, None, 3))
    x = layers.UpSampling2D(2, interpolation="bilinear", name="up")(inputs)
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x))


SEED = keras.random.SeedGenerator(0)
CASES = {
    "table": (
        lambda: model_of(words, dtype="int64"),
        r"'words' \(IntegerLookup\).*export the part that begins with the ids",
    ),
    "python": (
        lambda: model_of(lambda_of(python, "mine")),
        r"tf\.PyFunc.*'mine' \(Lambda\).*holds no Python",
    ),
    "print": (
        lambda: model_of(lambda_of(lambda x: tf.compat.v1.Print(x, [x]), "shown")),
        r"'shown' \(Lambda\).*printing out",
    ),
    "double": (
        lambda: model_of(layers.Dense(3, dtype="float64", name="wide")),
        r"'wide' \(Dense\).*float32: build the model with dtype=\"float32\"",
    ),
    "fourier": (
        lambda: model_of(lambda_of(lambda x: tf.abs(tf.signal.fft(tf.cast(x, tf.complex64))), "waves")),
        r"LiteRT can't run the file at 'waves' \(Lambda\).*Replace the layer",
    ),
    "own": (lambda: model_of(Mine(name="mine")), r"'mine' \(Mine\) fails\. ZeroDivisionError: of my own\."),
    "stateful": (remembering, r"'memory' \(LSTM\) writes a variable at each call.*stateful=False"),
    "noise": (lambda: model_of(lambda_of(noise, "noise")), r"'noise' \(Lambda\) writes a variable"),
    "open": (growing, r"'up' \(UpSampling2D\) fails.*fix them: inputs = keras\.Input"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_layer_and_a_remedy_are_named(tmp_path, name):
    build, message = CASES[name]
    model = build()
    x = data(model)
    kept = [np.array(v) for v in model.variables]
    states = [np.array(s) for layer in model.layers for s in getattr(layer, "states", None) or []]
    with pytest.raises(export.ExportError, match=message) as caught:
        export.to_tflite(model, tmp_path / "m.tflite", holdout=x)
    assert "\x1b" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert all(np.array_equal(a, b) for a, b in zip(kept, model.variables, strict=True))
    after = [np.array(s) for layer in model.layers for s in getattr(layer, "states", None) or []]
    assert all(np.array_equal(a, b) for a, b in zip(states, after, strict=True))
    assert keras.config.is_traceback_filtering_enabled()


def test_data_on_which_a_layer_fails_are_told_wherever_they_come(tmp_path):
    inputs = keras.Input((3,), dtype="int32", name="ids")
    model = keras.Model(
        inputs, layers.Dense(2)(layers.Flatten()(layers.Embedding(4, 2, name="table")(inputs)))
    )
    ids = np.zeros((60, 3), "int32")
    ids[59] = 9  # after the golden ones
    with pytest.raises(export.ExportError, match=r"'table' \(Embedding\) fails.*9 is not in \[0, 4\)"):
        export.to_tflite(model, tmp_path / "m.tflite", holdout=(ids, np.arange(60) % 2))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["own", "stateful", "open"])
def test_so_are_they_by_a_saved_model(tmp_path, name):
    build, message = CASES[name]
    message = message.split(" ")[0] + ".*" + {"stateful": "stateful=False"}.get(name, "fails")
    for reusable in (True, False):
        with pytest.raises(export.ExportError, match=message):
            export.to_saved_model(build(), tmp_path / "saved", reusable=reusable)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_int8_leaves_the_other_precisions_and_says_what_unrolling_does(tmp_path):
    model = model_of(layers.Bidirectional(layers.SimpleRNN(3, name="simple"), name="both"), (6, 4))
    x = data(model)
    names = ["weight_only", "int8"]
    found = export.ladder(model, tmp_path / "all", holdout=x[20:], representative_data=x[:20], variants=names)
    assert list(found.reports) == ["weight_only"] and found.choice == "weight_only"
    said = found.failures["int8"]
    assert "'both/forward_simple' (SimpleRNN)" in said and "'both/backward_simple' (SimpleRNN)" in said
    assert "unroll=True in the recurrent layers was tried: then all compute in integers" in said
    assert "weight_only, dynamic, float16, float32 can be exported" in said
    # as it says: the same weights, unrolled
    other = model_of(layers.Bidirectional(layers.SimpleRNN(3, unroll=True), name="both"), (6, 4))
    other.set_weights(model.get_weights())
    report = export.to_tflite(
        other, tmp_path / "m.tflite", precision="int8", representative_data=x[:20], holdout=x[20:]
    )
    assert "WHILE" not in report.operations and report.precision == "int8"


def test_what_the_quantizer_raises_is_told(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise KeyError("net_1/top_1/MatMul")

    model = model_of(layers.Dense(3))
    monkeypatch.setattr(quantizer_part("quantizer").Quantizer, "quantize", refuse)
    with pytest.raises(
        export.ExportError,
        match=r"can't make weight_only of the model at 'top' \(Dense\)\. KeyError.*float32 can be",
    ):
        export.to_tflite(model, tmp_path / "m.tflite", precision="weight_only", holdout=data(model))
    # the converter makes the others, but leaves weights of fewer than 1,024 values in float
    with pytest.raises(
        export.ExportError, match=r"KeyError.*converter was tried.*leaves all weights in float"
    ):
        export.to_tflite(model, tmp_path / "m.tflite", precision="dynamic", holdout=data(model))
    wide = model_of(layers.Dense(1024))
    report = export.to_tflite(wide, tmp_path / "m.tflite", precision="dynamic", holdout=data(wide))
    assert report.made_by == "converter"


def test_the_same_tensor_twice_and_one_that_is_an_input(tmp_path):
    inputs = keras.Input((4,), name="x")
    hidden = layers.Dense(3, name="hidden")(inputs)
    model = keras.Model(inputs, [hidden, hidden, inputs])
    x = data(model)
    for precision in ("float32", "int8"):
        path = tmp_path / f"{precision}.tflite"
        export.to_tflite(model, path, precision=precision, representative_data=x[:20], holdout=x[20:])
        run = Interpreter(str(path)).get_signature_runner("serving_default")
        got = list(run(x=x[30:31]).values())
        assert len(got) == 3
        hidden_now = model(x[30:31])[0].numpy()
        assert sum(v.shape == (1, 3) and np.allclose(v, hidden_now, atol=0.05) for v in got) == 2


def test_nested_outputs_are_named_by_their_paths(tmp_path):
    inputs = keras.Input((4,), name="x")
    heads = {n: layers.Dense(k, name=n)(inputs) for n, k in (("b", 1), ("c", 2), ("d", 3))}
    model = keras.Model(inputs, {"a": {"b": heads["b"], "c": [heads["c"]]}, "d": heads["d"]})
    x = data(model)
    report = export.to_tflite(model, tmp_path / "m.tflite", holdout=x)
    run = Interpreter(str(tmp_path / "m.tflite")).get_signature_runner("serving_default")
    expected = model(x[:1])
    got = run(x=x[:1])
    assert {t.name for t in report.outputs} == set(got) == {"a_b", "a_c_0", "d"}
    np.testing.assert_allclose(got["a_c_0"], expected["a"]["c"][0], atol=1e-6)
    path = export.to_saved_model(model, tmp_path / "saved")
    assert set(tf.saved_model.load(str(path)).signatures["serving_default"].structured_outputs) == set(got)


def test_nested_inputs_are_refused(tmp_path):
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    model = keras.Model({"a": a, "more": {"b": b}}, layers.Dense(1)(layers.Concatenate()([a, b])))
    with pytest.raises(ValueError, match="inputs of .* are nested"):
        export.to_tflite(model, tmp_path / "m.tflite")
