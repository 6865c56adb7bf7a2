"""The range of inputs that a file expects, as clients then use it: against MediaPipe and plain Keras."""

import keras
import numpy as np
import pytest
from image_clients import DIGITS, classified, coloured_digits
from kerasft.export.clients.model_json import picture_json

from kerasft import export

layers = keras.layers


def reader(*before, after=()):
    """An untrained classifier of coloured digits."""
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((16, 16, 3), name="image"),
            *before,
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(10),
            *after,
            layers.Softmax(name="scores"),
        ]
    )


@pytest.mark.parametrize(
    ("before", "after", "made", "options"),
    [
        ([layers.Rescaling(2.0, -1.0)], [], lambda pixels: pixels / 255, {}),  # takes 0..1
        ([layers.Rescaling(0.5, 0.5)], [], lambda pixels: pixels / 127.5 - 1, {}),  # takes -1..1
        ([layers.Rescaling(1 / 255)], [], lambda pixels: pixels, {}),
        ([layers.Lambda(lambda x: x / 127.5 - 1)], [], lambda pixels: pixels, {}),
        ([], [layers.Rescaling(0.5)], lambda pixels: pixels / 255, {"input_range": (0, 1)}),  # a temperature
    ],
)
def test_mediapipe_gives_the_models_scores(tmp_path, before, after, made, options):
    model = reader(*before, after=after)
    pixels = coloured_digits()[0][:20]
    expected = model.predict(made(pixels.astype("float32")), verbose=0)
    report = export.to_tflite(model, tmp_path / "m.tflite", labels=DIGITS, metadata=True, **options)
    scores, _ = classified((tmp_path / "m.tflite").read_bytes(), pixels)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    page = picture_json(report, report.inputs[0])
    normalized = (pixels - np.array(page["mean"])) / page["std"]
    np.testing.assert_allclose(normalized, made(pixels.astype("float32")), atol=1e-5)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ([layers.Rescaling(0.5)], [], r"x \* 0\.5 .* no usual range fits: of 0 to 1 it makes 0 to 0\.5"),
        ([], [layers.Rescaling(0.5)], "nothing in this model says"),  # a temperature
        (
            [layers.Normalization(mean=[0.48] * 3, variance=[0.0625] * 3)],
            [],
            "more than one usual range fits",
        ),
    ],
)
def test_metadata_are_refused_while_the_range_is_open(tmp_path, before, after, said):
    model = reader(*before, after=after)
    with pytest.raises(ValueError, match=f"{said}.*Pass input_range"):
        export.to_tflite(model, tmp_path / "m.tflite", labels=DIGITS, metadata=True)
    assert list(tmp_path.iterdir()) == []
    report = export.to_tflite(model, tmp_path / "m.tflite")  # without a client, nothing depends on it
    assert report.input_range is None
    with pytest.raises(ValueError, match="does not say which values the model takes"):
        export.to_web(report, tmp_path / "page")


def test_data_close_the_question(tmp_path):
    model = reader(layers.Normalization(mean=[0.48] * 3, variance=[0.0625] * 3))
    pixels = coloured_digits()[0][:40]
    report = export.to_tflite(
        model, tmp_path / "m.tflite", labels=DIGITS, metadata=True, holdout=pixels / 255
    )
    assert report.input_range == (0, 1)
    scores, _ = classified((tmp_path / "m.tflite").read_bytes(), pixels[:5])
    np.testing.assert_allclose(scores, model.predict(pixels[:5] / 255, verbose=0), atol=1e-5)


def test_all_precisions_come_with_the_metadata_that_mediapipe_can_take(tmp_path):
    model = reader(layers.Rescaling(1 / 255))
    pixels = coloured_digits()[0][:300].astype("float32")
    found = export.ladder(
        model, tmp_path / "all", labels=DIGITS, metadata=True, holdout=pixels[200:],
        representative_data=lambda: ([row[None]] for row in pixels[:200]),
        variants=["float32", "int8", "int8_io"],
    )  # fmt: skip
    assert {name: report.metadata for name, report in found.reports.items()} == {
        "float32": True, "int8": True, "int8_io": False,
    }  # fmt: skip
    assert list(found.without_metadata) == ["int8_io"] and "not int8" in found.without_metadata["int8_io"]
    assert "int8_io has no metadata: " in str(found)
    assert export.Ladder.from_json(found.to_json()) == found
    for name, atol in (("float32", 1e-5), ("int8", 0.1)):
        scores, _ = classified((tmp_path / "all" / f"{name}.tflite").read_bytes(), pixels[:5])
        np.testing.assert_allclose(scores, model.predict(pixels[:5], verbose=0), atol=atol)
    with pytest.raises(ValueError, match="not int8"):
        export.ladder(
            model, tmp_path / "one", labels=DIGITS, metadata=True, representative_data=pixels,
            variants=["int8_io"],
        )  # fmt: skip
    assert not (tmp_path / "one" / "int8_io.tflite").exists()
