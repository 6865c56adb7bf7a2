"""MediaPipe's ImageClassifier gives the model's scores by the labels' names, from what is in the file."""

import io
import sys
import zipfile
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from image_clients import DIGITS, classified, coloured_digits, computed, converted, trained_reader
from kerasft.export.clients.mediapipe import client_normalization
from kerasft.export.clients.metadata import ScoreCalibration, add_metadata
from kerasft.export.tflite_file.operations import read_operations
from quantizers import quantizer_part

REFERENCE = Path(__file__).parents[2] / "data" / "efficientnet_lite0_reference.npz"
SIGMOID = (1.0, 2.0, -1.0)  # scale, slope, offset


def metadata_names(content):
    model = schema.Model.GetRootAs(content, 0)
    return [model.Metadata(i).Name() for i in range(model.MetadataLength())]


@pytest.fixture(scope="module")
def images():
    return coloured_digits()[0]


@pytest.fixture(scope="module")
def readers():
    return trained_reader(*coloured_digits())


@pytest.fixture(scope="module")
def expected(readers, images):
    return readers[0].predict(images[:40].astype("float32"), verbose=0)


@pytest.fixture(scope="module")
def file(readers):
    return converted(readers[0])


def test_a_client_gives_the_scores_of_the_model(file, images, expected):
    scores, names = classified(add_metadata(file, labels=DIGITS), images[:40])
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert names == DIGITS
    assert np.ptp(expected.argmax(1)) > 5  # the images are of many classes


def test_a_client_normalizes_for_a_graph_that_does_not(readers, images, expected):
    mean, std = client_normalization(input_range=(-1, 1))
    content = converted(readers[1])
    scores, _ = classified(add_metadata(content, labels=DIGITS, mean=mean, std=std), images[:40])
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    wrong, _ = classified(add_metadata(content, labels=DIGITS), images[:40])
    assert np.abs(wrong - expected).max() > 1e-2


def test_half_precision(readers, images, expected):
    content = add_metadata(converted(readers[0], float16=True), labels=DIGITS)
    np.testing.assert_allclose(classified(content, images[:40])[0], expected, atol=1e-2)


@pytest.mark.parametrize(
    ("takes", "gives", "bare"),
    [
        (tf.float32, tf.float32, False),
        (tf.float32, tf.float32, True),
        (tf.uint8, tf.uint8, False),
        (tf.uint8, tf.float32, True),
    ],
)
def test_integers(readers, images, expected, takes, gives, bare):
    mean, std = (127.5, 127.5) if bare else (0, 1)
    normalized = (images.astype("float32") - mean) / std
    plain = converted(readers[bare], normalized[::9], takes, gives)
    scores, _ = classified(add_metadata(plain, labels=DIGITS, mean=mean, std=std), images[:40])
    sure = expected.max(1) > 0.95
    assert np.array_equal(scores[sure].argmax(1), expected[sure].argmax(1)) and sure.sum() > 20
    np.testing.assert_allclose(scores[sure], expected[sure], atol=0.1)
    given = computed(plain, images[:40] if takes == tf.uint8 else normalized[:40])
    # (pixel - 127.5) / 127.5 is halfway between two steps of int8, and rounded one way or the other
    halfway = bare and takes == tf.float32
    np.testing.assert_allclose(scores, given, atol=0.1 if halfway else 1e-6)


def test_images_of_another_size_are_resized_by_the_client(file, images, expected):
    large = images[:40].repeat(3, 1).repeat(3, 2)
    scores, _ = classified(add_metadata(file, labels=DIGITS), large)
    assert np.mean(scores.argmax(1) == expected.argmax(1)) > 0.9


@pytest.mark.parametrize("transformation", ["identity", "log", "inverse_logistic"])
def test_scores_are_calibrated(file, images, expected, transformation):
    calibration = ScoreCalibration([SIGMOID, (2, 0.5, 0.25)] * 5, transformation)
    scores, _ = classified(add_metadata(file, labels=DIGITS, score_calibration=calibration), images[:20])
    sure = (expected[:20] > 1e-6) & (
        expected[:20] < 0.9999
    )  # elsewhere float32 has no digits for a logarithm
    x = expected[:20][sure].astype("float64")
    g = {"identity": x, "log": np.log(x), "inverse_logistic": np.log(x / (1 - x))}[transformation]
    scale, slope, offset = (np.broadcast_to(v, (20, 10))[sure] for v in np.transpose(calibration.parameters))
    np.testing.assert_allclose(scores[sure], scale / (1 + np.exp(-(slope * g + offset))), atol=1e-3)
    assert len(x) > 20


def test_labels_without_calibration_and_low_scores_get_the_default(file, images, expected):
    calibration = ScoreCalibration([(*SIGMOID, 0.5)] * 9 + [None], default_score=0.125)
    scores, _ = classified(add_metadata(file, labels=DIGITS, score_calibration=calibration), images[:20])
    sure = expected[:20, :9] >= 0.5
    assert np.all(scores[:, 9] == 0.125) and np.all(scores[:, :9][~sure] == 0.125)
    # 1 / (1 + exp(-(2 x - 1)))
    np.testing.assert_allclose(
        scores[:, :9][sure], 1 / (1 + np.exp(1 - 2 * expected[:20, :9][sure])), atol=1e-5
    )
    assert sure.any()


def test_the_packed_file_is_a_zip_archive_of_the_labels(file):
    labels = ["äpfel", "汉字", "a b", "c,d", "a", "b", "e", "f", "g", "h"]
    rows = [(1.0, 2, 3.5), None] * 5
    content = add_metadata(file, labels=labels, score_calibration=ScoreCalibration(rows))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["labels.txt", "score_calibration.txt"]
        assert archive.read("labels.txt").decode().split("\n") == labels
        # one line for each label, the last one empty, and none behind it
        assert archive.read("score_calibration.txt").decode() == "1.0,2.0,3.5\n\n" * 4 + "1.0,2.0,3.5\n"


def test_names_of_any_language_reach_the_client(file, images):
    labels = ["äpfel", "汉字", "a b", "c,d", "a", "b", "e", "f", "g", "h"]
    assert classified(add_metadata(file, labels=labels), images[:1])[1] == labels


@pytest.mark.parametrize("quantized", [False, True])
def test_operations_and_weights_stay_as_they_are(readers, images, quantized):
    plain = converted(readers[0], images[::9] if quantized else None)
    content = add_metadata(plain, labels=DIGITS)
    assert read_operations(content) == read_operations(plain)
    assert metadata_names(content) == [*metadata_names(plain), b"TFLITE_METADATA"]
    assert len(metadata_names(plain)) > 0
    np.testing.assert_array_equal(computed(content, images[:5]), computed(plain, images[:5]))


def test_the_same_arguments_give_the_same_bytes(file, monkeypatch):
    first = add_metadata(file, labels=DIGITS)
    monkeypatch.setattr("time.time", lambda: 2e9)
    assert add_metadata(file, labels=DIGITS) == first


def test_metadata_are_added_once(file):
    with pytest.raises(ValueError, match="metadata already"):
        add_metadata(add_metadata(file, labels=DIGITS), labels=DIGITS)


def test_weights_behind_the_model_are_not_lost(file):
    model = schema.ModelT.InitFromPackedBuf(file, 0)
    model.buffers[1].offset, model.buffers[1].size = 4096, 16  # as in files above 2 GB
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    with pytest.raises(ValueError, match="come after the model"):
        add_metadata(bytes(builder.Output()), labels=DIGITS)


def test_a_quantizer_drops_the_labels(file, images):
    """Why metadata come last."""
    quantizer, recipe = quantizer_part("quantizer"), quantizer_part("recipe")
    packed = add_metadata(file, labels=DIGITS)
    made = quantizer.Quantizer(bytearray(packed), recipe.weight_only_wi8_afp32()).quantize()
    assert zipfile.is_zipfile(io.BytesIO(packed))
    assert not zipfile.is_zipfile(io.BytesIO(bytes(made.quantized_model)))
    plain = quantizer.Quantizer(bytearray(file), recipe.weight_only_wi8_afp32()).quantize()
    content = add_metadata(bytes(plain.quantized_model), labels=DIGITS)
    assert classified(content, images[:1])[1] == DIGITS


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (DIGITS[:9], "9 labels, but the model has 10"),
        ([*DIGITS, "ten"], "11 labels, but the model has 10"),
        ("zero one t", "list of names"),
        ([*DIGITS[:9], " "], "none of them empty"),
        ([*DIGITS[:9], 9], "list of names"),
        ([*DIGITS[:9], "nine\nten"], "one line"),
        ([*DIGITS[:9], "nine\r"], "one line"),
    ],
)
def test_labels_are_checked(file, labels, message):
    with pytest.raises(ValueError, match=message):
        add_metadata(file, labels=labels)


def test_every_label_has_a_place_in_the_calibration(file):
    with pytest.raises(ValueError, match="of 9 labels, but the model has 10"):
        add_metadata(file, labels=DIGITS, score_calibration=ScoreCalibration([SIGMOID] * 9))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"parameters": [(1, 2)]}, r"label 0 .* received \(1, 2\)"),
        ({"parameters": [SIGMOID, (1, 2, 3, 4, 5)]}, "label 1"),
        ({"parameters": [()]}, "label 0"),
        ({"parameters": [(-1, 2, 3)]}, "scale not below 0"),
        ({"parameters": [(1, 2, np.nan)]}, "finite"),
        ({"parameters": [None, None]}, "No label has parameters"),
        ({"parameters": [SIGMOID], "transformation": "tanh"}, "inverse_logistic.*'tanh'"),
        ({"parameters": [SIGMOID], "default_score": np.inf}, "default_score"),
    ],
)
def test_calibrations_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        ScoreCalibration(**arguments)


def test_a_missing_mediapipe_is_named(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe.tasks.metadata", None)
    with pytest.raises(ImportError, match=r'pip install "kerasft\[metadata\]"'):
        add_metadata(file, labels=DIGITS)


@pytest.mark.slow
@pytest.mark.parametrize("rescale", [False, True])
def test_efficientnet_lite0_gives_the_logits_of_its_reference(rescale):
    from kerasft.examples.efficientnet_lite0 import build_efficientnet_lite0

    reference = np.load(REFERENCE)
    model = build_efficientnet_lite0(input_shape=(224, 224, 3), rescale=rescale)
    mean, std = (
        client_normalization(input_range=(0, 255))
        if rescale
        else client_normalization(normalization=(127, 128))
    )
    content = add_metadata(converted(model), labels=[f"class {i}" for i in range(1000)], mean=mean, std=std)
    scores, names = classified(content, reference["images"])
    assert names[999] == "class 999"
    assert np.array_equal(scores.argmax(1), reference["logits"].argmax(1))
    np.testing.assert_allclose(scores, reference["logits"], atol=1e-2)  # of values up to 10
