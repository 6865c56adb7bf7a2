"""The export of a file that learns on the device, verified before it gets its name."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ..conversion import CONVERTER, Variants, converter_process, merged, saved
from ..draft import at_layers, check_drop, check_limits
from ..errors import ExportError
from ..files import check_target, replacing
from ..model import Subject, check_model, expected_of, serving_of
from ..report import check_labels, check_pixels
from ..text import Text, check_text
from ..tflite import check_choice
from ..tflite_file import census, read_operations
from ..trainable_report import TrainableReport, WeightInfo
from .contract import check_operations, check_size, measured
from .losses import loss_of
from .optimizers import rule_of
from .part import HEAD, Part, last_layers, part_of, rest_of, weight_names, with_new_classes
from .program import ONE, Program, output_of, saved_program, steps_in
from .state import digest_of, write_npz
from .steps import is_noise

SUFFIXES = (".npz", ".json", ".tflite")
_NEW = "the head begins with new classes"


def to_trainable_tflite(
    model: keras.Model,
    path: str | os.PathLike[str],
    depth: str = HEAD,
    *,
    precision: str = "float32",
    optimizer: Any = None,
    loss: Any = None,
    new_classes: int | Sequence[str] | None = None,
    seed: int = 0,
    batch: int | None = None,
    representative_data: Any = None,
    holdout: Any = None,
    max_drop: float | None = None,
    labels: Sequence[str] | None = None,
    input_range: tuple[float, float] | None = None,
    normalization: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    pixels: Mapping[str, str] | None = None,
    text: Text | None = None,
    tolerance: float | None = None,
    strict: bool = True,
    overwrite: bool = False,
) -> TrainableReport:
    """Write a Keras model as a .tflite file whose last layers train on the device.

    The file has four signatures, pure functions of TFLite's built-in operations. The client holds all state,
    weights and slots of the optimizer, as arrays by name, passes them in and gets them back:

    - `features(…the model's inputs…)`: what the frozen layers give for one sample;
    - `train(features, target, learning_rate, …weights…, …slots…)`: one step on the mean loss of a batch; it
      gives the weights and slots under the same names, and the loss before the step;
    - `scores(features, …weights…)`: the model's output for any number of samples;
    - `classify(…inputs…, …weights…)`: both for one sample.

    `learning_rate`, `loss` and Adam's `step` have the shape (1,). Beside `NAME.tflite` are written
    `NAME.npz`, the first values of weights and slots with `digest`, and `NAME.json`, the report. What a
    client saves is read back by `load_head`.

    Args:
        model: A built Functional or Sequential model with one output.
        path: The file, ending in `.tflite`.
        depth: The name or path of the first layer that trains, or "head" for the last one with a kernel. The
            layers from there on take one tensor each, and are Dense, Activation, ReLU, LeakyReLU, ELU,
            Softmax, Flatten, Rescaling, LayerNormalization, BatchNormalization (its statistics stay),
            GlobalAveragePooling1D and 2D, and Dropout and its kin, which do nothing on the device. Weights
            that are off (`trainable = False`) are constants of the file.
        precision: That of the frozen part: "float32", "float16", "weight_only", "dynamic" or "int8", as for
            `to_tflite`. The part that trains computes in float32.
        optimizer: SGD (with momentum, with Nesterov's) or Adam of Keras, or its name; by default that of
            `compile`. The rate of each step is the client's.
        loss: "categorical_crossentropy", "binary_crossentropy" or "mean_squared_error", or Keras's own; by
            default that of `compile`, else the one that the last activation means. Targets are rows as wide
            as the output: one-hot or probabilities.
        new_classes: Begin the last Dense anew for other classes: their number or their names.
        seed: For the first weights of `new_classes`, by the layer's own initializer.
        batch: The number of samples in a step; None for any, where the runtime can resize inputs.
        representative_data, holdout, labels, input_range, normalization, pixels, text, strict, overwrite: As
            for `to_tflite`; with `new_classes`, data have the classes of the model.
        max_drop: Largest loss of accuracy on the holdout, before any step; an error where none is measured.
        tolerance: Largest difference of features and scores, as for `to_tflite`.

    Returns:
        What was written and measured.

    Raises:
        TypeError, ValueError: An argument is wrong, or the part can't train on the device.
        FileNotFoundError, FileExistsError, OSError: A file can't be written.
        ExportError: The model can't be converted, or the file does not keep its contract: features and scores
            as the model's, 50 steps as Keras's own to 1e-5 of the largest value (or what rounding explains,
            `steps_rounding` in the report), built-in operations without a state, and at most 2 % more bytes
            than the inference file, or 256 for each operation where that is more. Nothing is left behind,
            older files are untouched.

    Example:
        ```python
        report = kerasft.export.to_trainable_tflite(model, "head.tflite", optimizer="adam", new_classes=3)
        print(report)
        ```

    References:
        https://www.tensorflow.org/lite/guide/signatures
    """
    target = Path(path)
    check_choice(precision, "float", representative_data)
    check_limits(max_drop=max_drop, tolerance=tolerance)
    rule_for_pixels = check_pixels(pixels)
    if batch is not None and (isinstance(batch, bool) or not isinstance(batch, int) or batch < 1):
        raise ValueError(f"batch is the number of samples in a step, or None for any; received {batch!r}.")
    if target.suffix != ".tflite":
        raise ValueError(f"The path of a TFLite file ends in .tflite; received {target}.")
    for beside in map(target.with_suffix, SUFFIXES):
        check_target(beside, overwrite=overwrite)
        if beside.is_dir():
            raise ValueError(f"{beside} is a folder, and a file is to be written there. Choose another path.")
    check_model(model)
    own = part_of(model, depth)
    used_loss, rule = loss_of(model, steps_in(own), loss), rule_of(model, optimizer)
    count, names = _classes(new_classes)
    converter_process()  # it begins while the model is looked at
    subject = Subject.of(
        model, batch=1, labels=labels, input_range=input_range, normalization=normalization, holdout=holdout,
        representative_data=representative_data, text=check_text(text),
    )  # fmt: skip
    part = last_layers(subject.model, len(own.links))
    if count is not None:
        subject = _begun_anew(subject, with_new_classes(part, count, seed), names)
        part = last_layers(subject.model, len(own.links))
    if max_drop is not None and (subject.not_measured or count is not None):
        check_drop(None, max_drop, _NEW if count is not None else subject.not_measured)
    program = Program(part, used_loss, rule)
    digest = digest_of(rest_of(model, own.links, program.weights), new_classes=count is not None)
    content, maker, inference, parts = _made(subject, program, precision, strict, batch)
    check_operations(content)
    check_size(content, parts if inference is None else inference)
    with contextlib.ExitStack() as files:
        partials = [
            files.enter_context(replacing(target.with_suffix(suffix), overwrite=overwrite))
            for suffix in SUFFIXES
        ]
        partials[2].write_bytes(content)
        with at_layers(subject, content):
            found = measured(partials[2], subject, program, precision, tolerance, batch)
        if max_drop is not None:
            check_drop(found["quality"], max_drop, found["not_measured"])
        if count is not None:
            found["not_measured"] = _NEW
        write_npz(partials[0], program.state, digest)
        report = TrainableReport(
            path=str(target),
            precision=precision,
            made_by=maker,
            depth=own.depth,
            layers=tuple((link.path, type(link.layer).__name__) for link in own.links),
            size_bytes=len(content),
            inference_bytes=inference,
            sha256=hashlib.sha256(content).hexdigest(),
            digest=digest,
            state=_state(program, own),
            frozen=tuple(part.frozen),
            off=tuple(_off(own)),
            loss=used_loss.name,
            label_smoothing=used_loss.smoothing,
            optimizer={"name": rule.name, **rule.constants, "learning_rate": rule.learning_rate},
            labels=subject.labels,
            new_classes=count is not None,
            input_range=subject.input_range,
            normalization=subject.normalization,
            preprocessing=subject.preprocessing,
            pixels=rule_for_pixels,
            text=subject.text,
            operations=census(read_operations(content)),
            versions=_versions(maker),
            npz_sha256=hashlib.sha256(partials[0].read_bytes()).hexdigest(),
            **found,
        )
        partials[1].write_text(report.to_json(), encoding="utf-8")
    return report


def _classes(new_classes: int | Sequence[str] | None) -> tuple[int | None, tuple[str, ...] | None]:
    """The number of new classes, and their names if they are given."""
    if new_classes is None:
        return None, None
    names = None
    if isinstance(new_classes, int | np.integer) and not isinstance(new_classes, bool):
        count = int(new_classes)
    else:
        names = check_labels(new_classes, None)
        count = len(names)
    if count < 1:
        raise ValueError(f"new_classes is the number of classes or their names; received {new_classes!r}.")
    return count, names


def _begun_anew(subject: Subject, model: keras.Model, names: tuple[str, ...] | None) -> Subject:
    """The subject with a model of other classes, of which there are no labelled data."""
    return replace(
        subject, model=model, labels=names, signature=serving_of(model, 1), holdout=None, reading=None,
        expected=tuple(expected_of(model, subject.samples)),
    )  # fmt: skip


def _made(
    subject: Subject, program: Program, precision: str, strict: bool, batch: int | None
) -> tuple[bytes, str, int | None, int]:
    """The file, what made its precision, the inference file's size if there is one, and that of its parts."""
    features = program.part.features
    with saved(features, 1) as folder:
        calibration, sample = subject.calibration, subject.samples[0]
        prefix, maker = Variants(folder, calibration, sample, strict=strict, model=features).make(precision)
    signatures = program.signatures(batch, output_of(subject.model))
    with saved_program(signatures) as folder:
        head = converter_process().convert(folder, "float32", "float", (), subject.model, tuple(signatures))
    inference = None
    with saved(subject.model, 1, subject.signature) as folder, contextlib.suppress(ExportError):
        made = Variants(folder, calibration, sample, strict=strict, model=subject.model)
        inference = len(made.make(precision)[0])
    whole = merged(prefix, head, rename="features", tensor="features", joined={ONE: "classify"})
    return whole, maker, inference, len(prefix) + sum(value.nbytes for value in program.weights.values())


def _state(program: Program, own: Part) -> tuple[WeightInfo, ...]:
    """The arrays that a client holds."""
    layers = {
        name: link.path
        for link, names in zip(own.links, weight_names(own.links), strict=True)
        for name in names.values()
    }
    found = [WeightInfo(n, v.shape, v.dtype.name, layers[n], "weight") for n, v in program.weights.items()]
    for name, value in program.slots.items():
        owner = next((n for n in program.weights for s in program.rule.slot_names if name == f"{n}_{s}"), "")
        kind = "slot" if owner else "step"
        found.append(WeightInfo(name, value.shape, value.dtype.name, layers.get(owner, ""), kind))
    return tuple(found)


def _off(part: Part) -> list[str]:
    """What layers do in Keras's training and not on the device."""
    found = [
        f"{link.path!r} ({type(link.layer).__name__}) makes no noise on the device"
        for link in part.links
        if is_noise(link.layer)
    ]
    return found + [
        f"{link.path!r} (BatchNormalization) keeps its statistics on the device"
        for link in part.links
        if isinstance(link.layer, keras.layers.BatchNormalization)
    ]


def _versions(maker: str) -> dict[str, str]:
    found = {"keras": keras.__version__, "tensorflow": tf.__version__}
    names = ["ai-edge-litert", *([] if maker == CONVERTER else [maker])]
    return found | {name.replace("-", "_"): importlib.metadata.version(name) for name in names}
