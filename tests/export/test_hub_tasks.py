"""KerasHub's tasks, whose preprocessor runs in the data pipeline: files against `model.predict`."""

import importlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from kerasft import export

RNG = np.random.default_rng(0)
Y = np.arange(48) % 2
X = (RNG.uniform(0, 255, (48, 20, 24, 3)) * np.array([1, 0.5])[Y][:, None, None, None]).astype("float32")
WORDS = [
    "[PAD]",
    "[MASK]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "the",
    "film",
    "is",
    "good",
    "bad",
    "and",
    "long",
    "##er",
    "a",
]
TEXTS = ["The film is good", "a bad film", "Good, longer and good", "bad bad bad", "", "unheard of: good"] * 4
SIDES = np.array([1, 0, 1, 0, 0, 1] * 4)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.shuffle=True. was passed"),
]


@pytest.fixture(scope="module")
def hub():
    return importlib.import_module("keras_hub")


def pictures(hub, **options):
    """A trained classifier that resizes to 16 × 16 and rescales."""
    keras.utils.set_random_seed(0)
    backbone = hub.models.ResNetBackbone(
        input_conv_filters=[64], input_conv_kernel_sizes=[3], stackwise_num_filters=[64],
        stackwise_num_blocks=[1], stackwise_num_strides=[1], block_type="basic_block",
        image_shape=(16, 16, 3),
    )  # fmt: skip
    converter = hub.layers.ImageConverter(image_size=(16, 16), scale=1 / 255, offset=-0.5, **options)
    preprocessor = hub.models.ImageClassifierPreprocessor(image_converter=converter, name="to_pixels")
    model = hub.models.ImageClassifier(backbone, num_classes=2, preprocessor=preprocessor)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    model.fit(X, Y, epochs=12, verbose=0)
    return model


def ran(path, x):
    run = Interpreter(str(path)).get_signature_runner()
    (name,) = run.get_input_details()
    return np.concatenate([next(iter(run(**{name: row[None]}).values())) for row in x])


@pytest.mark.parametrize("options", [{}, {"antialias": True, "interpolation": "bicubic"}])
def test_raw_pictures_of_another_size(hub, tmp_path, options):
    model = pictures(hub, **options)
    expected = model.predict(X, verbose=0)
    accuracy = model.evaluate(X, Y, verbose=0)[1]
    small = X[:, :16, :16]  # the size that the call takes, where the rescaling alone tells
    assert accuracy > 0.9 > np.mean(np.asarray(model(small)).argmax(1) == Y)
    report = export.to_tflite(model, tmp_path / "model.tflite", holdout=(X, Y), max_drop=0.01)
    assert report.inputs[0].shape == (1, 20, 24, 3)
    assert (report.accuracy_model, report.accuracy_file) == (pytest.approx(accuracy), pytest.approx(accuracy))
    np.testing.assert_allclose(ran(report.path, X), expected, atol=2e-4)
    assert "to_pixels" in report.preprocessing
    assert report.input_range == (0, 255)
    same = export.to_tflite(model, tmp_path / "same.tflite", holdout=(small, Y))
    np.testing.assert_allclose(ran(same.path, small), model.predict(small, verbose=0), atol=2e-4)
    saved = export.to_saved_model(model, tmp_path / "saved")
    served = tf.saved_model.load(str(saved)).signatures["serving_default"]
    (scores,) = served(tf.constant(X)).values()
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_integers_and_several_sizes(hub, tmp_path):
    model = pictures(hub)
    raw = X.astype("uint8")
    report = export.to_tflite(
        model,
        tmp_path / "int8.tflite",
        precision="int8",
        holdout=(raw, Y),
        representative_data=(raw[:, ::-1], Y),
    )
    assert report.accuracy_file >= np.mean(model.predict(raw, verbose=0).argmax(1) == Y) - 0.05

    def batches():
        for i in range(6):
            yield X[i : i + 1, : 14 + i], Y[i : i + 1]

    report = export.to_tflite(model, tmp_path / "open.tflite", holdout=batches)
    for x, _ in batches():
        np.testing.assert_allclose(ran(report.path, x), model.predict(x, verbose=0), atol=2e-4)
    with pytest.raises(export.ExportError, match="'to_pixels'.*several sizes"):
        export.to_tflite(pictures(hub, antialias=True), tmp_path / "never.tflite", holdout=batches)


def test_strings(hub, tmp_path):
    keras.utils.set_random_seed(0)
    backbone = hub.models.BertBackbone(
        vocabulary_size=len(WORDS), num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=16,
        dropout=0.0, max_sequence_length=12,
    )  # fmt: skip
    tokenizer = hub.models.BertTokenizer(vocabulary=WORDS, lowercase=True)
    preprocessor = hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=9)
    model = hub.models.BertTextClassifier(backbone, num_classes=2, preprocessor=preprocessor)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    data = tf.data.Dataset.from_tensor_slices((TEXTS, SIDES)).batch(6)
    model.fit(data, epochs=15, verbose=0)
    accuracy = model.evaluate(data, verbose=0)[1]
    expected = model.predict(TEXTS, verbose=0)
    assert accuracy > 0.9
    for holdout in (data, (TEXTS, SIDES), (np.array(TEXTS), SIDES)):
        report = export.to_tflite(model, tmp_path / "model.tflite", holdout=holdout, overwrite=True)
        assert report.accuracy_file == pytest.approx(accuracy)
    assert {t.name: t.shape for t in report.inputs} == dict.fromkeys(
        ("token_ids", "padding_mask", "segment_ids"), (1, 9)
    )
    ids = preprocessor(TEXTS)
    run = Interpreter(report.path).get_signature_runner()
    for i in range(6):
        got = run(**{k: np.asarray(v)[i : i + 1].astype("int32") for k, v in ids.items()})
        np.testing.assert_allclose(next(iter(got.values()))[0], expected[i], atol=1e-4)
    with_ids = export.to_tflite(
        model, tmp_path / "model.tflite", holdout=(preprocessor(TEXTS), SIDES), overwrite=True
    )
    assert with_ids.accuracy_file == pytest.approx(accuracy)
    assert "by the client" in report.preprocessing and "preprocessor" in report.preprocessing
    assert report.text.tokens == tuple(WORDS)
    assert (report.text.lower_case, report.text.sequence_length, report.text.ids) == (True, 9, "token_ids")
