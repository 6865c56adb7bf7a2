"""A file beside its final name: it gets that name only if it keeps its contract."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from .clients import ScoreCalibration, add_metadata, client_normalization
from .conversion import QUANTIZER, Variants, saved
from .errors import ExportError
from .model import Subject, located, plain
from .parity import Parity, compare, require
from .report import Quality, Report, Speed
from .tflite_file import LiteRTModel, census, read_operations

# For floats the largest difference by the largest value; for integers, by root mean squares.
TOLERANCES = {"float32": 1e-4, "float16": 2e-2, "dynamic": 0.3, "weight_only": 0.2, "int8": 0.4}


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


@contextlib.contextmanager
def at_layers(subject: Subject, content: bytes) -> Iterator[None]:
    """Let errors of LiteRT with a file name the user's layers, as an ExportError."""
    try:
        yield
    except (RuntimeError, ValueError) as error:  # an ExportError is a RuntimeError
        where = located(subject.model, str(error), content)
        if isinstance(error, ExportError) and not where:
            raise
        raise ExportError(
            f"LiteRT can't run the file{where}: {plain(str(error))} Replace the layer, or leave that part "
            "out of the exported model."
        ) from error


@contextlib.contextmanager
def variants_of(subject: Subject, *, strict: bool = True) -> Iterator[Variants]:
    """The files of a model at every precision, which can be made inside the block."""
    with saved(subject.model, subject.batch, subject.signature) as folder:
        yield Variants(folder, subject.calibration, subject.samples[0], strict=strict, model=subject.model)


def finisher(
    subject: Subject, metadata: bool, score_calibration: ScoreCalibration | None
) -> Callable[[bytes], bytes]:
    """A function that adds metadata to a file's bytes, or nothing."""
    if not metadata:
        if score_calibration is not None:
            raise ValueError("score_calibration is part of the metadata: pass metadata=True as well.")
        return lambda content: content
    labels = subject.labels
    if labels is None:
        raise ValueError("metadata=True needs labels: MediaPipe names the classes by them.")
    mean, std = client_normalization(
        input_range=subject.input_range,
        normalization=subject.normalization,
        question=subject.range_question,
    )
    return lambda content: add_metadata(
        content, labels=labels, mean=mean, std=std, score_calibration=score_calibration
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
        """A report on what was written and measured."""
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
