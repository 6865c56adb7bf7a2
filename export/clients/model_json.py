"""What a page's model.json says of every model: the file, its output, and how a picture becomes its input."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..report import Report, TensorInfo
from ..trainable_report import TrainableReport
from .pixels import DTYPES, pixel_normalization

WEB = Path(__file__).parent / "web"
AnyReport = Report | TrainableReport


def file_json(report: AnyReport, output: TensorInfo) -> dict[str, Any]:
    """The file, its classes and what runs it."""
    version = json.loads((WEB / "package.json").read_text())["dependencies"]["@litertjs/core"]
    return {
        "model": "model.tflite",
        "name": Path(report.path).name,
        "precision": report.precision,
        "bytes": report.size_bytes,
        "labels": report.labels,
        "output": asdict(output),
        "runtime": f"LiteRT.js {version}",
    }


def picture_json(report: AnyReport, image: TensorInfo) -> dict[str, Any]:
    """How a picture becomes an input of a model.

    Raises:
        ValueError: The page can't feed such an input.
    """
    _check_picture(report, image)
    mean, std = _normalization(report, image.shape[3])
    pixels = report.pixels or {}
    return {
        "input": asdict(image),
        "background": pixels.get("background", "white"),
        "resize": pixels.get("resize", "antialias"),
        "mean": mean,
        "std": std,
    }


def check_dtypes(report: AnyReport, tensors: Iterable[TensorInfo]) -> None:
    """Raise ValueError where LiteRT.js does not take or give a tensor of this dtype."""
    for tensor in tensors:
        if tensor.dtype not in DTYPES:
            raise ValueError(
                f"LiteRT.js takes {' and '.join(DTYPES)}, but {tensor.name!r} of {report.path} is "
                f"{tensor.dtype}. Export the model with io='float'; at precision='int8' it still computes in "
                "integers."
            )


def _check_picture(report: AnyReport, image: TensorInfo) -> None:
    shape = image.shape
    if len(shape) != 4 or shape[0] != 1 or min(shape) < 1 or shape[3] not in (1, 3):
        raise ValueError(
            "The page feeds the model one image, of shape (1, height, width, 1 or 3); the input "
            f"{image.name!r} of {report.path} has the shape {shape}."
        )
    check_dtypes(report, [image])


def _normalization(report: AnyReport, channels: int) -> tuple[list[float], list[float]]:
    """(mean, std) of pixels of 0..255, one of each for each channel."""
    found = pixel_normalization(input_range=report.input_range, normalization=report.normalization)
    if found is None:
        raise ValueError(
            f"The report on {report.path} does not say which values the model takes, so the page can't give "
            "it pixels. Export it with input_range=(0, 255), or whichever range it was trained on, or with "
            "normalization=(mean, std) in units of 0..255."
        )
    values = []
    for value in found:
        flat = np.asarray(value, dtype=float).ravel()
        if flat.size not in (1, channels):
            raise ValueError(
                f"normalization has {flat.size} values, but the images of {report.path} have {channels} "
                "channels."
            )
        values.append(np.broadcast_to(flat, (channels,)).tolist())
    return values[0], values[1]
