"""The needs of MediaPipe's ImageClassifier: the tensors of a file, and one normalization of pixels."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from ..report import TensorInfo
from ..tflite_file import dtype_of, model_of, reading, shape_of
from .pixels import DTYPES, Normalization, PerChannel, pixel_normalization

FIELD = "TFLITE_METADATA"  # where a file holds its metadata
_ALLOWED = 0.02  # how far a quantized input may be from the pixels, as a share of their range


def client_normalization(
    *,
    input_range: tuple[float, float] | None = None,
    normalization: Normalization | None = None,
    question: str | None = None,
) -> tuple[float, float]:
    """Mean and std, by which a client makes the graph's input of pixels of 0 to 255: `(pixel - mean) / std`.

    Args:
        input_range: The values that the graph expects for black and for white.
        normalization: (mean, std), each one number or one for each channel. It comes before `input_range`,
            with which it has to agree to 5 %.
        question: Why the range of the graph's input is not known, for the message if nothing is given.

    Returns:
        (mean, std), in units of a pixel.

    Raises:
        ValueError: Nothing is given, the arguments contradict each other, or the channels differ, which
            MediaPipe can't do.

    Example:
        >>> client_normalization(input_range=(-1, 1))
        (127.5, 127.5)
        >>> client_normalization(input_range=(0, 255))
        (0.0, 1.0)
    """
    if input_range is not None and not input_range[0] < input_range[1]:
        raise ValueError(f"input_range is (low, high), with low below high; received {input_range}.")
    found = pixel_normalization(input_range=input_range, normalization=normalization)
    if found is None:
        raise ValueError(
            "Metadata tell a client how to make the graph's input of pixels, and nothing in this model says "
            f"it. {question + ' ' if question else ''}Pass input_range, such as (0, 255) or (-1, 1), or "
            "normalization=(mean, std)."
        )
    mean, std = shared_normalization(*found)
    made = ((0 - mean) / std, (255 - mean) / std)
    if input_range is not None and max(abs(made[i] - input_range[i]) for i in (0, 1)) > 0.05 * 255 / std:
        raise ValueError(
            f"normalization={normalization} makes {made[0]:.4g} to {made[1]:.4g} of pixels, but "
            f"input_range is {input_range}. Leave one of them out."
        )
    return mean, std


def shared_normalization(mean: PerChannel, std: PerChannel) -> tuple[float, float]:
    """Mean and standard deviation as the one number each that MediaPipe applies to all channels.

    Raises:
        ValueError: The channels differ, or a number can't be used.
    """
    numbers: list[float] = []
    for name, values in (("mean", mean), ("std", std)):
        channels = {float(x) for x in np.ravel(np.asarray(values))}
        if len(channels) != 1:
            raise ValueError(
                f"MediaPipe normalizes all channels alike; received {name}={values}. Put the normalization "
                "into the model: keras.layers.Normalization(mean=..., variance=...), or Rescaling with lists."
            )
        numbers += channels
    if not all(map(math.isfinite, numbers)) or numbers[1] <= 0:
        raise ValueError(f"mean and std are finite and std is above 0; received {mean} and {std}.")
    return numbers[0], numbers[1]


def image_classifier(content: bytes, mean: float, std: float) -> tuple[TensorInfo, TensorInfo]:
    """The input and the output of a .tflite file that ImageClassifier takes, and uses as it should.

    Raises:
        ValueError: It does not; the message says why.
    """
    model = model_of(content)
    with reading():
        fields = [model.Metadata(i).Name() for i in range(model.MetadataLength())]
        graph = model.Subgraphs(0)
        counts = (model.SubgraphsLength(), graph.InputsLength(), graph.OutputsLength())
    if FIELD.encode() in fields:
        raise ValueError("This file has metadata already. Start from the file without.")
    if counts != (1, 1, 1):
        raise ValueError(
            "MediaPipe takes files of one subgraph with one input and one output; this one has "
            "{} subgraphs, {} inputs and {} outputs.".format(*counts)
        )
    with reading():
        image, scores = (_tensor_of(graph.Tensors(i)) for i in (graph.Inputs(0), graph.Outputs(0)))
    _check_image(image, mean, std)
    if len(scores.shape) != 2 or scores.shape[0] not in (1, -1):
        raise ValueError(f"The output of an image classifier is (1, classes); received {scores.shape}.")
    if scores.dtype not in DTYPES:
        raise ValueError(f'MediaPipe takes scores of {DTYPES}, not {scores.dtype}: io="float" or "uint8".')
    if scores.dtype == "uint8" and scores.scale is None:
        raise ValueError("MediaPipe needs the scale of scores that are uint8; this output has none.")
    return image, scores


def _tensor_of(tensor: Any) -> TensorInfo:
    found = TensorInfo((tensor.Name() or b"").decode(), shape_of(tensor), dtype_of(tensor))
    steps = tensor.Quantization()
    if steps is None or not steps.ScaleLength():
        return found
    return replace(found, scale=float(steps.Scale(0)), zero_point=int(steps.ZeroPoint(0)))


def _check_image(image: TensorInfo, mean: float, std: float) -> None:
    shape = image.shape
    if len(shape) != 4 or shape[0] not in (1, -1) or min(shape[1:3]) < 1 or shape[3] != 3:
        hint = " Repeat a grey image's channel in the model." if shape[-1:] == (1,) else ""
        raise ValueError(f"MediaPipe takes images of (1, height, width, 3); the file takes {shape}.{hint}")
    if image.dtype not in DTYPES:
        raise ValueError(f'MediaPipe gives images of {DTYPES}, not {image.dtype}: io="float" or "uint8".')
    if image.dtype == "uint8":
        scale, zero = (1.0, 0) if image.scale is None else (image.scale, image.zero_point or 0)
        for pixel in (0, 255):
            wanted, got = (pixel - mean) / std, scale * (pixel - zero)
            if abs(got - wanted) > _ALLOWED * 255 / std:
                raise ValueError(
                    f"MediaPipe feeds pixels to a uint8 input as they are. Pixel {pixel} should stand for "
                    f"{wanted:.4g} by (pixel - {mean:g}) / {std:g}, but is {got:.4g} by the file's scale "
                    f"{scale:.4g} and zero point {zero}. Give representative data that reach from black to "
                    'white, or use io="float".'
                )
