"""What model.json says of a picture that a page feeds to a model."""

from types import SimpleNamespace

import pytest
from kerasft.export.clients.model_json import check_dtypes, file_json, picture_json
from kerasft.export.report import TensorInfo

IMAGE = TensorInfo("image", (1, 4, 6, 3), "float32")


def report(**changes):
    """The fields of a report that are read."""
    fields = {
        "path": "folder/a.tflite", "precision": "int8", "size_bytes": 12, "labels": ("a", "b"),
        "input_range": (-1.0, 1.0), "normalization": None, "pixels": None,
    }  # fmt: skip
    return SimpleNamespace(**{**fields, **changes})


def test_a_picture():
    found = picture_json(report(), IMAGE)
    assert found["input"]["shape"] == (1, 4, 6, 3) and found["mean"] == found["std"] == [127.5] * 3
    assert (found["background"], found["resize"]) == ("white", "antialias")
    rule = {"background": "#000000", "resize": "mediapipe"}
    found = picture_json(report(pixels=rule, normalization=([1, 2, 3], 4)), IMAGE)
    assert {name: found[name] for name in rule} == rule
    assert (found["mean"], found["std"]) == ([1.0, 2.0, 3.0], [4.0] * 3)


def test_a_file():
    found = file_json(report(), TensorInfo("scores", (1, 2), "float32"))
    assert (found["name"], found["precision"], found["bytes"]) == ("a.tflite", "int8", 12)
    assert found["labels"] == ("a", "b")
    assert found["output"]["name"] == "scores" and found["runtime"].startswith("LiteRT.js 2.")


@pytest.mark.parametrize(
    ("image", "changes", "message"),
    [
        (TensorInfo("image", (1, 4, 6, 2), "float32"), {}, "1 or 3"),
        (TensorInfo("image", (2, 4, 6, 3), "float32"), {}, r"one image.*\(2, 4, 6, 3\)"),
        (TensorInfo("image", (1, 4, 6, 3), "int8"), {}, "io='float'"),
        (IMAGE, {"input_range": None}, "input_range"),
        (IMAGE, {"normalization": ([1, 2], 1)}, "2 values.*3 channels"),
    ],
)
def test_what_a_page_can_not_feed(image, changes, message):
    with pytest.raises(ValueError, match=message):
        picture_json(report(**changes), image)


def test_dtypes():
    check_dtypes(report(), [IMAGE, TensorInfo("x", (1,), "uint8")])
    with pytest.raises(ValueError, match=r"'x' of folder/a.tflite is int32"):
        check_dtypes(report(), [IMAGE, TensorInfo("x", (1,), "int32")])
