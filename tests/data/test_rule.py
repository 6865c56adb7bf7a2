"""The rule by which a picture becomes pixels, against TensorFlow, LiteRT and Pillow."""

import io
import json
import resource

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from image_clients import classified
from PIL import Image

from kerasft import export
from kerasft.data import rule as rule_module
from kerasft.data.rule import RESIZES, PixelRule

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (37, 53, 3)).astype("uint8")


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize("size", [8, 20, 37, 64])
@pytest.mark.parametrize(("resize", "antialias"), [("antialias", True), ("bilinear", False)])
def test_both_ways_are_those_of_tensorflow(size, resize, antialias):
    found = PixelRule(resize).read(png(PICTURE), size)
    expected = tf.image.resize(PICTURE.astype("float32"), (size, size), antialias=antialias).numpy()
    assert found.shape == (size, size, 3) and found.dtype == np.uint8
    # rounded once; Pillow rounds between its two directions as well
    assert np.abs(found - expected).max() <= (1.01 if antialias else 0.501)
    np.testing.assert_array_equal(found, PixelRule(resize).fitted(PICTURE, size))


def test_antialias_is_pillows_bilinear():
    expected = Image.fromarray(PICTURE).resize((16, 16), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(PixelRule().read(png(PICTURE), 16), np.asarray(expected))


def test_bilinear_is_litert_s():
    @tf.function(input_signature=[tf.TensorSpec((1, 37, 53, 3))])
    def scaled(x):
        return tf.compat.v1.image.resize_bilinear(x, (16, 16), half_pixel_centers=True)

    content = tf.lite.TFLiteConverter.from_concrete_functions([scaled.get_concrete_function()]).convert()
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], PICTURE[None].astype("float32"))
    interpreter.invoke()
    expected = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
    assert np.abs(PixelRule("bilinear").read(png(PICTURE), 16) - expected).max() <= 0.501
    assert np.abs(PixelRule("antialias").read(png(PICTURE), 16) - expected).max() > 20


@pytest.mark.process
@pytest.mark.parametrize("shape", [(37, 53), (4, 5), (16, 16)])
def test_mediapipe_is_mediapipe_s(tmp_path, shape):
    """A model that gives the pixels that it takes, in MediaPipe's ImageClassifier."""
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs)))
    path, labels = tmp_path / "a.tflite", [f"pixel {i}" for i in range(8 * 8 * 3)]
    export.to_tflite(model, path, labels=labels, metadata=True)
    picture = RNG.integers(0, 256, (*shape, 3)).astype("uint8")
    scores, _ = classified(path.read_bytes(), [picture])
    seen = scores[0].reshape(8, 8, 3) * 255
    assert np.abs(PixelRule("mediapipe").fitted(picture, 8) - seen).max() <= 1.01
    for other in ("antialias", "bilinear"):
        assert np.abs(PixelRule(other).fitted(picture, 8) - seen).max() > 50


def test_turning_and_the_ground_come_before_the_size():
    pixels = np.zeros((40, 20, 4), "uint8")
    pixels[:20, :, 3] = 255  # black above, clear below
    exif = Image.Exif()
    exif[0x0112] = 6  # so black is on the right
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", exif=exif)
    for resize in RESIZES:
        found = PixelRule(resize).read(file.getvalue(), 10)
        assert found[:, :4].min() == 255 and found[:, 6:].max() == 0
        found = PixelRule(resize, "red").read(file.getvalue(), 10)
        assert np.all(found[:, :4] == [255, 0, 0])


def test_grey_arrays_become_colour():
    grey = RNG.integers(0, 256, (8, 8, 1)).astype("uint8")
    for pixels in (grey, grey[..., 0]):
        np.testing.assert_array_equal(PixelRule().fitted(pixels, 8), grey.repeat(3, -1))


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("kind", ["png", "jpeg", "RGBA png", "palette png", "tiff"])
def test_huge_pictures_give_what_others_give(monkeypatch, resize, kind):
    y, x = np.mgrid[0:701, 0:903]
    smooth = 128 + 60 * np.sin(x / 40)[..., None] + 60 * np.cos(y / 30)[..., None] * [1, 0.5, 0.2]
    image = Image.fromarray(smooth.astype("uint8"))
    if kind.startswith("RGBA"):
        image.putalpha(Image.fromarray((x * 255 // 903).astype("uint8")))
    if kind.startswith("palette"):
        image = image.quantize(64)
    exif = Image.Exif()
    exif[0x0112] = 8
    file = io.BytesIO()
    image.save(file, kind.split()[-1], exif=exif)
    usual = PixelRule(resize).read(file.getvalue(), 16)
    monkeypatch.setattr(rule_module, "_HUGE", 1000)
    huge = PixelRule(resize).read(file.getvalue(), 16)
    assert np.abs(usual.astype(int) - huge).max() <= (3 if resize == "antialias" else 0)


@pytest.mark.slow
def test_a_huge_png_needs_little_more_than_its_own_pixels(tmp_path):
    Image.new("RGB", (10_000, 8_000), "teal").save(tmp_path / "a.png")  # 240 MB decoded
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = PixelRule().read(tmp_path / "a.png", 224)
    assert np.all(found == [0, 128, 128])
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 1.3 * 240e6


def test_a_rule_is_checked_and_described():
    assert PixelRule("bilinear", "black").to_dict() | {"resize": "bilinear", "background": "black"} == (
        PixelRule("bilinear", "black").to_dict()
    )
    with pytest.raises(
        ValueError, match="resize is one of antialias, bilinear, mediapipe; received 'nearest'"
    ):
        PixelRule("nearest")
    with pytest.raises(ValueError, match="background"):
        PixelRule(background="glass")


def test_a_rule_comes_back_from_its_file(tmp_path):
    path = tmp_path / "pixels.json"
    rule = PixelRule("mediapipe", "#102030")
    rule.to_json(path)
    assert PixelRule.from_json(path) == rule
    for content in ("[]", "{}", '{"resize": "antialias", "background": 3}', '{"resize": "cubic"}'):
        path.write_text(content)
        with pytest.raises(ValueError, match="rule"):
            PixelRule.from_json(path)
    path.write_text(json.dumps({**rule.to_dict(), "rounding": "down"}))
    with pytest.raises(ValueError, match="does not know"):
        PixelRule.from_json(path)
