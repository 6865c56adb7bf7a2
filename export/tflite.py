"""TFLite files at every precision: built-in operations only, verified before they get their name."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from .clients import ScoreCalibration, add_metadata, client_normalization
from .conversion import IO, PRECISIONS, QUANTIZER, Variants, converter_process, saved
from .files import check_target, replacing
from .model import Subject
from .report import Parity, Quality, Report, Speed, compare, require
from .tflite_file import LiteRTModel, census, read_operations

# For floats the largest difference by the largest value; for integers, by root mean squares.
TOLERANCES = {"float32": 1e-4, "float16": 2e-2, "dynamic": 0.3, "weight_only": 0.2, "int8": 0.4}


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
    normalization: tuple[Any, Any] | None = None,
    metadata: bool = False,
    score_calibration: ScoreCalibration | None = None,
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
            takes, of which 128 samples are used, all classes alike.
        holdout: Held-out data: a `tf.data.Dataset` or `PyDataset` of (inputs, labels) batches, a tuple of
            arrays, or inputs alone. Its first 16 samples are the golden inputs; with integer or one-hot
            labels the accuracy of both model and file is measured on all of it.
        max_drop: Largest allowed loss of accuracy on the holdout, in 0…1.
        labels: Names of the classes, one for each value of the output.
        input_range: Lowest and highest input value that the graph expects; recorded, held against
            `representative_data`, and used for golden inputs if there are no data.
        normalization: (mean, std) that the client has to apply; recorded. Refused if the model rescales
            its input itself, as it would be applied twice.
        metadata: Add what MediaPipe Tasks reads to an image classifier's file: `labels` and the normalization
            (needs `kerasft[metadata]`).
        score_calibration: How MediaPipe calibrates each label's score, for the metadata.
        batch: 1, or None for a file that takes any batch size.
        tolerance: Largest difference from the model. For float32 and float16 it is relative to the output's
            largest value (1e-4 and 2e-2); for the others it is the root mean square of the difference by that
            of the output (weight_only 0.2, dynamic 0.3, int8 0.4), a guard against collapse: use `max_drop`.
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
    if max_drop is not None and holdout is None:
        check_drop(None, max_drop)
    if target.suffix != ".tflite" or target.is_dir():
        raise ValueError(f"The path of a TFLite file ends in .tflite; received {target}.")
    check_target(target, overwrite=overwrite)
    converter_process()  # it begins while the model is looked at
    subject = Subject.of(
        model, batch=batch, labels=labels, input_range=input_range, normalization=normalization,
        holdout=holdout, representative_data=representative_data,
    )  # fmt: skip
    finish = finisher(subject, metadata, score_calibration)
    with saved(subject.model, batch) as folder:
        variants = Variants(folder, subject.calibration, subject.samples[0], strict=strict)
        content, maker = variants.make(precision, io)
    with replacing(target, overwrite=overwrite) as partial:
        draft = Draft.checked(finish(content), precision, io, maker, subject, partial, tolerance)
        quality = subject.qualities({"": draft.artifact}).get("")
        if max_drop is not None:
            check_drop(quality, max_drop)
        report = draft.report(target, subject, quality, metadata)
        del draft
    return report


def check_choice(precision: str, io: str, representative_data: Any) -> None:
    """Raise ValueError unless a precision exists, and comes with what it needs."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision is one of {sorted(PRECISIONS)}, not {precision!r}.")
    if io not in IO:
        raise ValueError(f"io is one of {list(IO)}, not {io!r}.")
    if precision != "int8" and io != "float":
        raise ValueError(f'io={io!r} goes with precision="int8"; {precision} takes and gives floats.')
    if precision == "int8" and representative_data is None:
        raise ValueError(
            "int8 needs representative_data: about a hundred training samples of all classes, as the model "
            'takes them, on which the ranges of activations are measured. precision="weight_only" needs none.'
        )


def check_drop(quality: Quality | None, max_drop: float) -> None:
    """Raise unless a file's accuracy is close enough to the model's."""
    if quality is None:
        raise ValueError("max_drop needs a classifier with one output, and a holdout with integer labels.")
    low, high = (100 * bound for bound in quality.interval)
    require(
        quality.drop, max_drop, f"the loss of accuracy on {quality.samples:,} samples",
        f"Its 95 % confidence interval is {low:.1f} to {high:.1f} points. Try precision=\"weight_only\", or "
        "more representative data; networks with SiLU or squeeze-and-excitation lose most in int8.",
    )  # fmt: skip


def finisher(subject: Subject, metadata: bool, score_calibration: ScoreCalibration | None) -> Any:
    """A function that adds metadata to a file's bytes, or nothing."""
    if not metadata:
        if score_calibration is not None:
            raise ValueError("score_calibration is part of the metadata: pass metadata=True as well.")
        return lambda content: content
    if subject.labels is None:
        raise ValueError("metadata=True needs labels: MediaPipe names the classes by them.")
    mean, std = client_normalization(
        input_range=subject.input_range,
        normalization=subject.normalization,
        in_graph=subject.preprocessing.startswith("in the graph"),
    )
    return lambda content: add_metadata(
        content, labels=subject.labels, mean=mean, std=std, score_calibration=score_calibration
    )


@dataclass
class Draft:
    """A file beside its final name that has kept its contract."""

    precision: str
    io: str
    made_by: str
    content: bytes
    artifact: LiteRTModel
    parity: Parity
    speed: Speed

    @classmethod
    def checked(
        cls, content: bytes, precision: str, io: str, maker: str, subject: Subject, path: Path,
        tolerance: float | None,
    ) -> Draft:  # fmt: skip
        """Write a file, load it in LiteRT, and hold it against the model.

        Raises:
            ExportError: It does not load, or differs by more than is allowed.
        """
        path.write_bytes(content)
        artifact = LiteRTModel(str(path))
        parity = compare(artifact, subject.samples, subject.expected)
        limit = TOLERANCES[precision] if tolerance is None else tolerance
        for found in (parity, *(compare(artifact, [x], [y]) for x, y in subject.larger())):
            if precision in ("float32", "float16"):
                what = f"the largest difference of an output ({found.max_abs:.3g}) by its largest value"
                require(found.max_relative, limit, what, "Please report this, with the model.")
            else:
                what = "the root mean square of the difference by that of the output"
                require(found.rms_relative, limit, what, 'Try precision="weight_only" or "float16".')
        sample = subject.samples[0]
        ms = {str(n): LiteRTModel(str(path), n).latency_ms(sample) for n in (1, 2)}
        return cls(precision, io, maker, content, artifact, parity, Speed(ms, *artifact.partitions))

    def report(self, path: Path, subject: Subject, quality: Quality | None, metadata: bool) -> Report:
        """What was written and measured."""
        operations = read_operations(self.content)
        tensors = {t.name: t.dtype for o in operations for t in o.inputs + o.outputs}
        kinds = list(tensors.values())
        names = ["keras", "tensorflow", "ai-edge-litert"]
        names += [QUANTIZER] if self.made_by == QUANTIZER else []
        known = {"keras": keras.__version__, "tensorflow": tf.__version__}
        return Report(
            path=str(path),
            precision=self.precision,
            io=self.io,
            made_by=self.made_by,
            size_bytes=len(self.content),
            sha256=hashlib.sha256(self.content).hexdigest(),
            inputs=self.artifact.inputs,
            outputs=self.artifact.outputs,
            operations=census(operations),
            dtypes={kind: kinds.count(kind) for kind in sorted(set(kinds))},
            labels=subject.labels,
            input_range=subject.input_range,
            normalization=subject.normalization,
            preprocessing=subject.preprocessing,
            metadata=metadata,
            parity=self.parity,
            quality=quality,
            speed=self.speed,
            versions={n.replace("-", "_"): known.get(n) or importlib.metadata.version(n) for n in names},
        )
