"""A file beside its final name: it gets that name only if it keeps its contract."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from .clients import ScoreCalibration, add_metadata, client_normalization
from .columns import Lost
from .conversion import CONVERTER, Variants, saved
from .errors import ExportError
from .model import Measured, Subject, located, plain
from .parity import Comparison, Parity, compare, require
from .report import Quality, Report, Speed
from .tflite_file import LiteRTModel, census, producers, read_operations

# For floats the largest difference by the largest value; for integers, by root mean squares.
TOLERANCES = {"float32": 1e-4, "float16": 2e-2, "dynamic": 0.3, "weight_only": 0.2, "int8": 0.4}
# For a column by its own spread; at 0.7 half of its variance is lost.
COLUMN_TOLERANCES = {"float32": 0.1, "float16": 0.3, "dynamic": 0.7, "weight_only": 0.7, "int8": 0.7}


def check_drop(quality: Quality | None, max_drop: float, not_measured: str = "") -> None:
    """Raise unless a file's accuracy is close enough to the model's."""
    if quality is None:
        raise ValueError(
            f"max_drop={max_drop:g} can't be held: no accuracy was measured, as {not_measured}. It takes a "
            "model with one output of scores, and a holdout of (inputs, labels)."
        )
    low, high = (100 * bound for bound in quality.interval)
    require(
        quality.drop, max_drop, f"the loss of accuracy on {quality.samples:,} samples",
        f"Its 95 % confidence interval is {low:.1f} to {high:.1f} points. Try precision=\"weight_only\", or "
        "more representative data; networks with SiLU or squeeze-and-excitation lose most in int8.",
    )  # fmt: skip


def check_limits(**limits: float | None) -> None:
    """Raise ValueError unless limits are numbers of 0 or more, as far as they are given."""
    for name, limit in limits.items():
        number = isinstance(limit, int | float | np.number) and not isinstance(limit, bool)
        if limit is not None and not (number and 0 <= limit < np.inf):
            raise ValueError(f"{name} is a number of 0 or more, or None; received {limit!r}.")
    if (drop := limits.get("max_drop")) is not None and drop > 1:
        raise ValueError(f"max_drop is a share of the samples, in 0 to 1, such as 0.01; received {drop!r}.")


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


_TWO_OUTPUTS = (
    "In integers a tensor has one scale, and its large values leave the small ones no steps: give them as "
    "two outputs, such as keras.Model(inputs, [boxes, scores])."
)
_OFFSET = (
    "In integers an output has 256 steps over 0 and its largest value, too wide for what it varies by: "
    "leave a constant offset, or a softmax over very many classes, out of the exported model."
)


def _advice(precision: str, lost: Sequence[Lost], hint: str) -> str:
    """What to do about columns that a file of a precision has lost."""
    if precision in ("float32", "float16"):
        return 'Try precision="float32".' if precision == "float16" else "Please report this, with the model."
    what = hint or (_TWO_OUTPUTS if any(found.columns for found in lost) else _OFFSET)
    return f'{what} precision="weight_only" and "float16" keep small values beside large ones.'


def hold(comparison: Comparison, precision: str, tolerance: float | None, hint: str = "") -> None:
    """Raise ExportError unless a file's differences are within what its precision is allowed."""
    found = comparison.parity
    limit = TOLERANCES[precision] if tolerance is None else tolerance
    if precision in ("float32", "float16"):
        what = (
            f"the largest difference of an output ({found.max_abs:.3g}, of sample {found.worst} of the "
            f"{found.samples} that were compared) by its largest value"
        )
        advice = (
            "TFLite's converter or runtime computes something else than the model: leave out or rewrite the "
            "layer, and please report this, with the model."
            if precision == "float32"
            else 'Rounding the weights moves the output that much: try precision="float32", or allow it with '
            "tolerance=."
        )
        if not np.isfinite(found.max_abs):
            advice = "The model itself gives values that are not finite there, and the file gives others."
        require(found.max_relative, limit, what, advice)
    else:
        what = "the root mean square of the difference by that of the output"
        advice = 'Try precision="weight_only" or "float16".'
        require(found.rms_relative, limit, what, f"{advice}{f' {hint}' if hint else ''}")
    column_limit = max(COLUMN_TOLERANCES[precision], tolerance or 0.0)
    if lost := comparison.lost(column_limit):
        raise ExportError(
            f"The file does not keep its contract: {'; '.join(map(str, lost))}; allowed is "
            f"{column_limit:.3g}. Nothing was written. {_advice(precision, lost, hint)}"
        )


@dataclass
class Draft:
    """A file beside its final name that has kept its contract."""

    precision: str
    io: str
    made_by: str
    content: bytes
    artifact: LiteRTModel
    producers: dict[str, str]
    tolerance: float | None
    parity: Parity
    speed: Speed
    quality: Quality | None = None
    not_measured: str = "there is no holdout"

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
        made = producers(content)
        found = compare(artifact, subject.samples, subject.expected, made, subject.places)
        for part in (found, *(compare(artifact, [x], [y]) for x, y in subject.larger())):
            hold(part, precision, tolerance, subject.crowded if precision == "int8" else "")
        sample = subject.samples[0]
        ms = {str(n): LiteRTModel(str(path), n).latency_ms(sample) for n in (1, 2)}
        speed = Speed(ms, *artifact.partitions)
        return cls(precision, io, maker, content, artifact, made, tolerance, found.parity, speed)

    def report(self, path: Path, subject: Subject, metadata: bool) -> Report:
        """A report on what was written and measured."""
        operations = read_operations(self.content)
        tensors = {t.name: t.dtype for o in operations for t in o.inputs + o.outputs}
        kinds = list(tensors.values())
        names = ["keras", "tensorflow", "ai-edge-litert"]
        names += [] if self.made_by == CONVERTER else [self.made_by]
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
            quality=self.quality,
            speed=self.speed,
            versions={n.replace("-", "_"): known.get(n) or importlib.metadata.version(n) for n in names},
            not_measured="" if self.quality is not None else self.not_measured,
            text=subject.text,
        )


def measure(drafts: dict[str, Draft], subject: Subject) -> dict[str, str]:
    """Hold drafts against the model on all of the holdout, and keep in them what was measured.

    Returns:
        Why some are no files of the model's, by name.
    """
    found, reason = subject.measured({name: (d.artifact, d.producers) for name, d in drafts.items()})
    failures = {}
    for name, result in found.items():
        draft = drafts[name]
        if isinstance(result, Measured):
            draft.quality, draft.not_measured = result.quality, reason
            draft.parity = result.comparison.parity
        try:
            if not isinstance(result, Measured):
                raise result
            hint = subject.crowded if draft.precision == "int8" else ""
            hold(result.comparison, draft.precision, draft.tolerance, hint)
        except ExportError as error:
            failures[name] = str(error)
    return failures
