"""Models as people have them, at every precision: the file in LiteRT against `model.predict`."""

import functools
import importlib

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers

import kerasft
from kerasft import export
from kerasft.hub import load_backbone

RNG = np.random.default_rng(0)
COUNT = 64


def briefly_trained(model, images, labels, logits=False):
    """Train an image classifier; statistics that follow fast replace the usual thousands of steps."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.5
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    model.fit(images, labels, epochs=25, batch_size=len(images), verbose=0)
    return model


def pictures(low, high, size=32):
    """Images of four classes by brightness."""
    labels = np.arange(COUNT) % 4
    images = RNG.uniform(0, 0.4, (COUNT, size, size, 3)) + 0.2 * labels[:, None, None, None]
    return (low + (high - low) * images).astype("float32"), labels


def mobilenet_v2():
    images, labels = pictures(-1, 1)
    model = keras.applications.MobileNetV2(input_shape=(32, 32, 3), alpha=0.35, weights=None, classes=4)
    return briefly_trained(model, images, labels), images


def mobilenet_v3():
    """Squeeze-and-excitation, hard swish, rescaling inside, and logits."""
    images, labels = pictures(0, 255)
    model = keras.applications.MobileNetV3Small(
        input_shape=(32, 32, 3), weights=None, classes=4, classifier_activation=None, dropout_rate=0.0
    )
    return briefly_trained(model, images, labels, logits=True), images


def staged(folder):
    """A Hub backbone in stages with a head, trained by multipliers."""
    images, labels = pictures(-1, 1, 8)
    inputs = x = keras.Input((8, 8, 3), name="image")
    for i in range(2):
        x = layers.Conv2D(6, 3, padding="same", name=f"block_{i}_conv")(x)
        x = layers.ReLU()(layers.BatchNormalization(name=f"block_{i}_bn")(x))
    x = layers.Dense(8, name="top")(layers.GlobalAveragePooling2D()(x))
    path = folder / "backbone"
    if not path.exists():
        export.to_saved_model(keras.Model(inputs, x), path)
    backbone = load_backbone(path, batch_norm="train")
    scores = layers.Dense(4, activation="softmax", dtype="float32", name="scores")(backbone.output)
    model = keras.Model(backbone.input, scores)
    optimizer = kerasft.with_lr_multipliers(keras.optimizers.Adam(0.02), {"block_0": 0.1}, model=model)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    model.fit(images, labels, epochs=4, verbose=0)
    return model, images


def several(folder=None):
    """Token ids, a mask and numbers in a dict to two outputs in a dict, none in alphabetical order."""
    data = {
        "words": RNG.integers(0, 20, (COUNT, 6)).astype("int32"),
        "numbers": RNG.normal(size=(COUNT, 3)).astype("float32"),
        "kind": RNG.integers(0, 3, (COUNT, 1)).astype("int32"),
    }
    inputs = {name: keras.Input(v.shape[1:], dtype=v.dtype.name, name=name) for name, v in data.items()}
    x = layers.GlobalAveragePooling1D()(layers.Embedding(20, 8)(inputs["words"]))
    kind = layers.Flatten()(layers.Embedding(3, 4)(inputs["kind"]))
    x = layers.Concatenate()([x, inputs["numbers"], kind])
    x = layers.Dense(16, activation="relu")(x)
    outputs = {"z": layers.Dense(3, name="z")(x), "a": layers.Dense(2, name="a", activation="tanh")(x)}
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(0.01), {"z": "mse", "a": "mse"})
    targets = {"z": data["numbers"], "a": data["numbers"][:, :2]}
    model.fit(data, targets, epochs=8, verbose=0)
    return model, data


def bert():
    """KerasHub's encoder with open lengths, on texts of five tokens."""
    hub = importlib.import_module("keras_hub")
    backbone = hub.models.BertBackbone(
        vocabulary_size=30, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16,
        max_sequence_length=12,
    )  # fmt: skip
    model = keras.Model(backbone.input, layers.Dense(3, name="logits")(backbone.output["pooled_output"]))
    ids = RNG.integers(1, 30, (COUNT, 5)).astype("int32")
    mask = (np.arange(5) < RNG.integers(2, 6, (COUNT, 1))).astype("int32")
    data = {"token_ids": ids * mask, "segment_ids": 0 * ids, "padding_mask": mask}
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(data, ids[:, 0] % 3, epochs=3, verbose=0)
    return model, data


def transformer():
    """An encoder of Keras's own layers with a padding mask."""
    tokens = keras.Input((6,), dtype="int32", name="token_ids")
    mask = keras.Input((6,), dtype="int32", name="padding_mask")
    x = layers.Embedding(20, 8)(tokens)
    seen = keras.ops.expand_dims(keras.ops.cast(mask, "bool"), 1)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 4)(x, x, attention_mask=seen))
    x = layers.LayerNormalization()(x + layers.Dense(8)(layers.Dense(16, activation="gelu")(x)))
    model = keras.Model([tokens, mask], layers.Dense(3, name="logits")(x[:, 0]))
    ids = RNG.integers(1, 20, (COUNT, 6)).astype("int32")
    seen = (np.arange(6) < RNG.integers(2, 7, (COUNT, 1))).astype("int32")
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit([ids * seen, seen], ids[:, 0] % 3, epochs=3, verbose=0)
    return model, {"token_ids": ids * seen, "padding_mask": seen}


MODELS = {f.__name__: f for f in (mobilenet_v2, mobilenet_v3, staged, several, bert, transformer)}
# Allowed root mean square of the difference by that of the output.
ALLOWED = {"float32": 1e-5, "float16": 3e-3, "weight_only": 0.05, "dynamic": 0.05, "int8": 0.12}
NO_INT8 = {
    "bert": "NEG",  # of LayerNormalization, for which there is no integer kernel
    "transformer": "NEG",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A function of a name that gives the trained model and its inputs, made once."""
    folder = tmp_path_factory.mktemp("models")

    @functools.cache
    def make(name):
        keras.utils.set_random_seed(0)
        return MODELS[name](folder) if name in ("staged", "several") else MODELS[name]()

    return make


def named(model, data):
    """Inputs by name."""
    return data if isinstance(data, dict) else {model.inputs[0].name: data}


def outputs(path, samples):
    """What a file gives for each sample, joined, by name."""
    run = Interpreter(str(path)).get_signature_runner("serving_default")
    count = len(next(iter(samples.values())))
    answers = [run(**{k: v[i : i + 1] for k, v in samples.items()}) for i in range(count)]
    return {name: np.concatenate([a[name] for a in answers]) for name in answers[0]}


def predicted(model, data):
    """What the model gives, by name."""
    said = model.predict(data, verbose=0)
    return said if isinstance(said, dict) else {model.output_names[0]: said}


def difference(got, expected):
    """Of the worst output."""
    assert set(got) == set(expected)
    return max(np.sqrt(np.mean((got[k] - v) ** 2)) / np.sqrt(np.mean(v**2)) for k, v in expected.items())


def given(model, data):
    """Data in the structure that the model takes."""
    if isinstance(data, dict) and isinstance(model.input, list):
        return [data[t.name] for t in model.inputs]
    return data


SLOW = ("mobilenet_v2", "mobilenet_v3", "bert")


@pytest.mark.parametrize("precision", export.PRECISIONS)
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in MODELS])
def test_files_compute_what_models_predict(models, tmp_path, name, precision):
    model, data = models(name)
    path = tmp_path / "model.tflite"
    options = {"precision": precision, "representative_data": given(model, data)}
    if precision == "int8" and name in NO_INT8:
        with pytest.raises(export.ExportError, match=f"compute in float:.*{NO_INT8[name]}"):
            export.to_tflite(model, path, **options)
        assert not path.exists()
        options["strict"] = False
    report = export.to_tflite(model, path, **options)
    expected = predicted(model, given(model, data))
    assert min(np.ptp(v, axis=0).max() for v in expected.values()) > 0.05  # it tells its inputs apart
    found = difference(outputs(path, named(model, data)), expected)
    assert found <= ALLOWED[precision]
    assert report.parity.rms_relative <= ALLOWED[precision]
    assert not any(kind.startswith("Flex") for kind in report.operations)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", ["staged", pytest.param("bert", marks=pytest.mark.slow)])
def test_mixed_precision(tmp_path, name, policy):
    """The file is that of the same model built in float32, with the same weights."""
    build = functools.partial(MODELS[name], tmp_path) if name == "staged" else MODELS[name]
    keras.utils.set_random_seed(0)
    by_hand, data = build()
    keras.config.set_dtype_policy(policy)
    try:
        model, data = build()
    finally:
        keras.config.set_dtype_policy("float32")
    assert {layer.compute_dtype for layer in model.layers} - {"float32"}
    report = export.to_tflite(model, tmp_path / "model.tflite", holdout=given(model, data))
    for mine, theirs in zip(by_hand.variables, model.variables, strict=True):
        mine.assign(theirs.numpy().astype(mine.dtype))
    expected = predicted(by_hand, given(by_hand, data))
    got = outputs(tmp_path / "model.tflite", named(model, data))
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        assert np.abs(got[key] - value).max() <= 1e-5 * np.abs(value).max()
    assert not {"float16", "bfloat16"} & set(report.dtypes)
