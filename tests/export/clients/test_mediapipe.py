"""Files that MediaPipe's ImageClassifier could not use are refused, by what it does with them."""

import numpy as np
import pytest
import tensorflow as tf
from image_clients import classified, coloured_digits, converted, of_function, trained_reader
from kerasft.export.clients.mediapipe import client_normalization, image_classifier, shared_normalization
from kerasft.export.clients.metadata import add_metadata


def mean_of(x):
    return tf.reduce_mean(tf.cast(x, tf.float32), (1, 2))


@pytest.fixture(scope="module")
def images():
    return coloured_digits()[0]


@pytest.fixture(scope="module")
def reader():
    return trained_reader(*coloured_digits())[0]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        # (pixel - mean) / std makes low of 0 and high of 255
        ({"input_range": (0, 255)}, (0, 1)),
        ({"input_range": (0, 1)}, (0, 255)),
        ({"input_range": (-1, 1)}, (127.5, 127.5)),
        ({"input_range": (-2, 3)}, (102, 51)),
        ({"normalization": (127, 128)}, (127, 128)),
        ({"normalization": ([127, 127, 127], np.array([128.0] * 3))}, (127, 128)),
        ({"normalization": (127, 128), "input_range": (-1, 1)}, (127, 128)),
    ],
)
def test_normalization_of_what_is_known(arguments, expected):
    assert client_normalization(**arguments) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "nothing in this model says it"),
        ({"question": "It computes x * 2."}, r"says it\. It computes x \* 2\. Pass input_range"),
        ({"normalization": (0, 255), "input_range": (-1, 1)}, r"makes 0 to 1 of pixels.*\(-1, 1\)"),
        ({"normalization": (0, 255), "input_range": (0, 2)}, "makes 0 to 1 of pixels"),
        ({"normalization": ([123.7, 116.3, 103.5], 58)}, "all channels alike; received mean"),
        ({"normalization": (116, [58, 57, 57])}, "all channels alike; received std"),
        ({"normalization": (0, 0)}, "std is above 0"),
        ({"normalization": (0, -1)}, "std is above 0"),
        ({"normalization": (np.nan, 1)}, "finite"),
        ({"input_range": (1, -1)}, "low below high"),
        ({"input_range": (1, 1)}, "low below high"),
    ],
)
def test_what_contradicts_itself_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        client_normalization(**arguments)


def test_empty_channels_are_refused():
    with pytest.raises(ValueError, match="all channels alike"):
        shared_normalization([], 1)


@pytest.mark.parametrize(
    ("function", "shapes", "message"),
    [
        (mean_of, [(1, 8, 8, 1)], r"takes \(1, 8, 8, 1\)\. Repeat"),
        (mean_of, [(1, 8, 8, 4)], r"takes \(1, 8, 8, 4\)\.$"),
        (mean_of, [(2, 8, 8, 3)], r"takes \(2, 8, 8, 3\)"),
        (mean_of, [(1, None, None, 3)], r"takes \(1, -1, -1, 3\)"),
        (lambda x: tf.reduce_mean(x, 1), [(1, 64, 3)], r"takes \(1, 64, 3\)"),
        (lambda x: tf.reduce_mean(x), [(1, 8, 8, 3)], r"received \(\)"),
        (lambda x: mean_of(x)[:, None], [(1, 8, 8, 3)], r"received \(1, 1, 3\)"),
        (lambda x: mean_of(x)[0], [(1, 8, 8, 3)], r"received \(3,\)"),
        (lambda x: (mean_of(x), 2 * mean_of(x)), [(1, 8, 8, 3)], "1 inputs and 2 outputs"),
        (lambda x, y: mean_of(x) + y, [(1, 8, 8, 3), (1, 3)], "2 inputs and 1 outputs"),
        (lambda x: tf.cast(mean_of(x), tf.int32), [(1, 8, 8, 3)], "not int32"),
    ],
)
def test_models_that_are_no_image_classifiers_are_refused(function, shapes, message):
    with pytest.raises(ValueError, match=message):
        image_classifier(of_function(function, *shapes), 0.0, 1.0)


def test_any_batch_size_is_fine():
    content = of_function(mean_of, (None, 8, 8, 3))
    image, scores = image_classifier(content, 0.0, 1.0)
    assert (image.shape, scores.shape) == ((-1, 8, 8, 3), (-1, 3))
    pixels = np.full((1, 8, 8, 3), [10, 20, 30])
    got, _ = classified(add_metadata(content, labels=["red", "green", "blue"]), pixels)
    np.testing.assert_allclose(got, [[10, 20, 30]], rtol=1e-5)  # scores are shown as they are


def test_what_is_no_file_is_refused():
    with pytest.raises(ValueError, match="no .tflite file"):
        image_classifier(b"nonsense", 0.0, 1.0)


@pytest.mark.parametrize(
    ("takes", "gives", "message"),
    [(tf.int8, tf.int8, "images of.*not int8"), (tf.float32, tf.int8, "scores of.*not int8")],
)
def test_int8_at_the_edges_is_refused(reader, images, takes, gives, message):
    content = converted(reader, images[::9], takes, gives)
    with pytest.raises(ValueError, match=message):
        image_classifier(content, 0.0, 1.0)


def test_pixels_that_a_uint8_input_takes_for_others_are_refused(reader, images):
    """Calibrated on dark images, the step of the input is half a pixel."""
    content = converted(reader, images[::9] * 0.5, tf.uint8, tf.uint8)
    with pytest.raises(ValueError, match=r"Pixel 255 should stand for 255 .* but is 127\.5 .* io=\"float\""):
        image_classifier(content, 0.0, 1.0)


def test_a_uint8_input_counts_by_its_own_scale(reader, images):
    content = converted(reader, images[::9], tf.uint8, tf.uint8)
    image, scores = image_classifier(content, 0.0, 1.0)
    assert (image.dtype, image.zero_point, scores.dtype) == ("uint8", 0, "uint8")
    assert image.scale == pytest.approx(1) and scores.scale == pytest.approx(1 / 256)
    with pytest.raises(ValueError, match="Pixel 0 should stand for -1 "):
        image_classifier(content, 127.5, 127.5)


def test_a_uint8_input_without_a_scale_takes_pixels():
    content = of_function(mean_of, (1, 8, 8, 3), dtype=tf.uint8)
    image, _ = image_classifier(content, 0.0, 1.0)
    assert image.scale is None
    with pytest.raises(ValueError, match="Pixel 255 should stand for 1 "):
        image_classifier(content, 0.0, 255.0)


def test_uint8_scores_without_a_scale_are_refused():
    content = of_function(lambda x: x[:, 0, 0], (1, 8, 8, 3), dtype=tf.uint8)
    with pytest.raises(ValueError, match="needs the scale"):
        image_classifier(content, 0.0, 1.0)
