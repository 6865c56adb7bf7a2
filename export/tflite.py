"""TFLite files at every precision: built-in operations only, verified before they get their name."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy.typing as npt

from .clients import ScoreCalibration
from .conversion import converter_process
from .draft import Draft, at_layers, check_drop, check_limits, finisher, measure, variants_of
from .errors import ExportError
from .files import check_target, replacing
from .model import Subject
from .precisions import check_choice
from .report import Report, check_pixels
from .text import Text, check_text


def to_tflite(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    precision: str = "float32",
    io: str = "float",
    representative_data: Any = None,
    holdout: Any = None,
    max_drop: float | None = None,
    labels: Sequence[str] | None = None,
    input_range: tuple[float, float] | None = None,
    normalization: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    pixels: Mapping[str, str] | None = None,
    text: Text | None = None,
    metadata: bool = False,
    score_calibration: ScoreCalibration | None = None,
    calibration_samples: int = 128,
    batch: int | None = 1,
    tolerance: float | None = None,
    strict: bool = True,
    overwrite: bool = False,
) -> Report:
    """Write a Keras model as a .tflite file that is known to work.

    The file is written beside its final name, loaded in LiteRT, and compared with the model on golden
    inputs; only then it gets its name. It has one signature with the model's input and output names.
    Dropout and random augmentation are inactive, and a model that trained in mixed precision is exported in
    float32. The converter runs in a process of its own, which stays for the next export.

    Args:
        model: A built Functional or Sequential model.
        path: The file, ending in `.tflite`.
        precision: "float32"; "float16" (weights in half precision); "weight_only" (weights in int8, computed
            in float); "dynamic" (weights in int8, activations quantized at each call); "int8" (all integers).
        io: What an int8 file takes and gives: "float", which it converts itself, "int8" or "uint8" (the
            report's inputs and outputs have the scales).
        representative_data: Training data for int8, as `holdout`, unaugmented and in the range that the model
            takes, of which `calibration_samples` are used, all classes alike.
        holdout: Held-out data: a `tf.data.Dataset` or `PyDataset` of (inputs, labels) batches, a tuple of
            arrays, inputs alone, or a function that gives such batches, called for each pass. The file is
            held against the model on all of it. Accuracy is measured with class numbers from 0 on, one-hot
            rows (smoothed or not) or names out of `labels` where the output has a column for each class, with
            0 and 1 where it has one probability or one for each of several labels (threshold 0.5). Numbers
            may be floats; samples of the weight 0 do not count.
        max_drop: Largest allowed loss of accuracy on the holdout, in 0…1; an error where no accuracy can be
            measured.
        labels: Names of the classes, one for each value of the output; two, of 0 and of 1, for one value.
        input_range: Lowest and highest input value that the graph expects; recorded, held against
            `representative_data` and `holdout`, or, without data, against the graph, and then used for golden
            inputs. By default it is what the graph's rescaling before its first weights decides, by itself or
            with the data: 0…255 for `Rescaling(1 / 255)`, 0…1 for `Rescaling(2, -1)`.
        normalization: (mean, std) that the client has to apply; recorded. Refused if the model rescales
            its input itself, as it would be applied twice.
        pixels: How files of pictures became pixels in training, for the report and the web page, such as
            `load_dataset(…).pixels.to_dict()`.
        text: How a text becomes the token ids that the model takes: `Text(vocabulary, sequence_length, …)`.
            The file then takes int32 ids of that length, `holdout` and `representative_data` may be strings,
            and the report, golden packs and web pages hold the vocabulary. KerasHub's models with WordPiece
            need none.
        metadata: Add what MediaPipe Tasks reads to an image classifier's file: `labels` and the normalization
            (needs `kerasft[metadata]`).
        score_calibration: How MediaPipe calibrates each label's score, for the metadata.
        calibration_samples: How many samples int8 is calibrated on; more if there are more classes, for one
            of each.
        batch: 1, or None for a file that takes any batch size.
        tolerance: Largest difference from the model. For float32 and float16 it is relative to the output's
            largest value (1e-4 and 2e-2); for the others it is the root mean square of the difference by that
            of the output (weight_only 0.2, dynamic 0.3, int8 0.4), a guard against collapse: use `max_drop`.
            Besides, no column of an output may differ by more than 0.7 of its own spread, which is half of
            its variance (float32 0.1, float16 0.3), or by `tolerance` if that is more.
        strict: Refuse an int8 file in which something would compute in float.
        overwrite: Replace an existing file, once the new one is verified.

    Returns:
        What was written and measured.

    Raises:
        TypeError, ValueError: An argument is wrong.
        FileNotFoundError, FileExistsError, OSError: The file can't be written.
        ExportError: The model can't be converted to built-in operations, or the file does not compute what
            the model computes. Nothing is left behind, an older file is untouched.

    Example:
        ```python
        report = kerasft.export.to_tflite(
            model, "model.tflite", precision="int8", representative_data=train, holdout=test, max_drop=0.01
        )
        print(report.parity, report.quality)
        ```
    """
    target = Path(path)
    check_choice(precision, io, representative_data)
    check_limits(max_drop=max_drop, tolerance=tolerance)
    rule = check_pixels(pixels)
    if target.suffix != ".tflite" or target.is_dir():
        raise ValueError(f"The path of a TFLite file ends in .tflite; received {target}.")
    check_target(target, overwrite=overwrite)
    converter_process()  # it begins while the model is looked at
    subject = Subject.of(
        model, batch=batch, labels=labels, input_range=input_range, normalization=normalization,
        holdout=holdout, representative_data=representative_data, text=check_text(text),
        calibration_samples=calibration_samples,
    )  # fmt: skip
    if max_drop is not None and subject.not_measured:
        check_drop(None, max_drop, subject.not_measured)
    finish = finisher(subject, metadata, score_calibration)
    with variants_of(subject, strict=strict) as variants:
        content, maker = variants.make(precision, io)
    with replacing(target, overwrite=overwrite) as partial:
        content = finish(content)
        with at_layers(subject, content):
            draft = Draft.checked(content, precision, io, maker, subject, partial, tolerance)
        for failure in measure({"": draft}, subject).values():
            raise ExportError(failure)
        if max_drop is not None:
            check_drop(draft.quality, max_drop, draft.not_measured)
        report = replace(draft.report(target, subject, metadata), pixels=rule)
        del draft
    return report
