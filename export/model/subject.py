"""The subject of an export: a model in float32, its names, its preprocessing, and the data to check with."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from ..parity import Sample
from ..report import Channels, Quality, check_labels
from ..tflite_file import LiteRTModel
from .calibration import Calibration, calibration
from .float32 import in_float32
from .preprocessing import Preprocessing, Range, channel_values
from .ranges import held_against_data
from .samples import (
    batches,
    class_labels,
    endless,
    expected_of,
    is_classifier,
    named_inputs,
    outputs_of,
    random_samples,
    rows,
    samples_of,
)
from .signature import check_model, serving_of

_GOLDEN = 16


@dataclass(frozen=True)
class Subject:
    """A model that is ready for export, and what its files are checked with.

    Attributes:
        model: The model, computing in float32.
        batch: The batch size of its files; None for any.
        labels: Names of the classes, or None.
        signature: The model's inference, traced, which is what files are made of.
        input_range: Lowest and highest input value, as given or as the graph's rescaling decides; None if it
            is open.
        range_question: Why the range is open although the graph rescales its input, in words, or None.
        normalization: (mean, std) that the client applies, or None.
        preprocessing: Where preprocessing happens, in words.
        samples: Golden inputs of batch size one.
        expected: What the model gives for them.
        holdout: Held-out data, or None.
        calibration: Samples for int8, or None.
    """

    model: keras.Model
    batch: int | None
    labels: tuple[str, ...] | None
    signature: Any
    input_range: Range | None
    range_question: str | None
    normalization: tuple[Channels, Channels] | None
    preprocessing: str
    samples: tuple[Sample, ...]
    expected: tuple[Sample, ...]
    holdout: Any
    calibration: Calibration | None

    @classmethod
    def of(
        cls,
        model: keras.Model,
        *,
        batch: int | None = 1,
        labels: Sequence[str] | None = None,
        input_range: tuple[float, float] | None = None,
        normalization: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
        holdout: Any = None,
        representative_data: Any = None,
    ) -> Subject:
        """Check a model and all that comes with it; see `to_tflite`.

        Raises:
            TypeError, ValueError: Something is wrong, with what to do about it.
            ExportError: The model can't be built again in float32, or fails on its inputs.
        """
        check_model(model)
        if batch is not None and batch != 1:
            raise ValueError(f"batch is 1, or None for any batch size; received {batch!r}.")
        if input_range is not None:
            input_range = float(input_range[0]), float(input_range[1])
            if not input_range[0] < input_range[1]:
                raise ValueError(f"input_range is (lowest, highest); received {input_range}.")
        if normalization is not None:
            normalization = channel_values(normalization[0]), channel_values(normalization[1])
        _check_inputs(model, sized=holdout is not None or representative_data is not None)
        if endless(holdout):
            raise ValueError(
                "The holdout never ends, and all of it is measured. Give a finite part of it, "
                "such as dataset.take(100)."
            )
        names = None if labels is None else _unique_labels(model, labels)
        floats = in_float32(model)
        signature = serving_of(floats, batch)
        preprocessing = Preprocessing.of(floats, signature)
        described = preprocessing.describe(normalization)
        chosen = None
        if representative_data is not None:
            chosen = calibration(floats, representative_data, labels=names, holdout=holdout)
        ranges, question = held_against_data(floats, preprocessing, input_range, chosen, holdout)
        samples = _golden_samples(floats, holdout, chosen, ranges, preprocessing)
        expected = expected_of(floats, samples)
        return cls(
            floats, batch, names, signature, _shared(ranges), question, normalization, described,
            tuple(samples), tuple(expected), holdout, chosen,
        )  # fmt: skip

    def larger(self) -> list[tuple[Sample, Sample]]:
        """Inputs of other sizes than the golden ones, with what the model gives: for axes that are open."""
        found: list[tuple[Sample, Sample]] = []
        if self.batch is None and len(self.samples) > 2:
            three = {k: np.concatenate([s[k] for s in self.samples[:3]]) for k in self.samples[0]}
            found.append((three, outputs_of(self.model, three)))
        open_axes = {
            name: [axis for axis, n in enumerate(tuple(t.shape)) if n is None and axis]
            for name, t in zip(self.samples[0], self.model.inputs, strict=True)
        }
        if any(open_axes.values()):
            for resized in (_grown, _shrunk):
                sample = {k: resized(v, open_axes[k]) for k, v in self.samples[0].items()}
                with contextlib.suppress(Exception):  # the model's own: texts have a greatest length
                    found.append((sample, outputs_of(self.model, sample)))
                    break
        return found

    def qualities(self, artifacts: Mapping[str, LiteRTModel]) -> dict[str, Quality]:
        """The accuracy of model and artifacts, in one pass over a labelled holdout; {} without one."""
        if self.holdout is None or not is_classifier(self.model):
            return {}
        truth: list[int] = []
        mine: list[int] = []
        theirs: dict[str, list[int]] = {name: [] for name in artifacts}
        for inputs, targets in batches(self.holdout):
            labels = class_labels(targets)
            if labels is None:
                return {}
            named = named_inputs(self.model, inputs)
            for begin in range(0, len(labels), 32):
                part = {k: v[begin : begin + 32] for k, v in named.items()}
                mine += _classes(outputs_of(self.model, part))
                for row in rows(part):
                    for name, artifact in artifacts.items():
                        theirs[name] += _classes(artifact(row))
            truth += labels.tolist()
        if not truth:
            return {}
        a, y = np.array(mine), np.array(truth)
        return {name: Quality.of(a, np.array(found), y) for name, found in theirs.items()}


def _grown(value: np.ndarray, axes: list[int]) -> np.ndarray:
    widths = [(0, max(1, n // 4) if axis in axes else 0) for axis, n in enumerate(value.shape)]
    return np.pad(value, widths, mode="wrap")


def _shrunk(value: np.ndarray, axes: list[int]) -> np.ndarray:
    kept = [slice(max(1, n - max(1, n // 4)) if axis in axes else n) for axis, n in enumerate(value.shape)]
    return value[tuple(kept)]


def _classes(outputs: Sample) -> list[int]:
    (scores,) = outputs.values()
    return np.argmax(scores, axis=-1).tolist()


def _check_inputs(model: keras.Model, *, sized: bool) -> None:
    """Raise unless TFLite can take the inputs; `sized` is whether data show the sizes of open axes."""
    if strings := [t.name for t in model.inputs if t.dtype == "string"]:
        raise ValueError(
            f"The inputs {strings} are strings, which TFLite's built-in operations can't split. Export two "
            "files: to_saved_model of the whole model, and to_tflite of the part that begins with token ids, "
            "with vocabulary and split rules beside it: layer.get_vocabulary(), layer.get_config()."
        )
    open_axes = [t.name for t in model.inputs if None in tuple(t.shape)[1:]]
    if open_axes and not sized:
        raise ValueError(
            f"The inputs {open_axes} have open axes, and their size on the device is not known. Give a "
            "holdout of the size to check, or fix it: inputs = keras.Input((224, 224, 3)); "
            "keras.Model(inputs, model(inputs)), with your own size."
        )


def _golden_samples(
    model: keras.Model,
    holdout: Any,
    chosen: Calibration | None,
    ranges: Mapping[str, Range | None],
    preprocessing: Preprocessing,
) -> list[Sample]:
    """The first samples of the holdout, or of the calibration, or random ones."""
    if holdout is not None:
        samples = samples_of(model, holdout, _GOLDEN)
    elif chosen is not None:
        samples = list(chosen.samples[:_GOLDEN])
    else:
        samples = random_samples(model, ranges, _GOLDEN, preprocessing.before)
    if not samples:
        raise ValueError("The holdout is empty.")
    return samples


def _shared(ranges: Mapping[str, Range | None]) -> Range | None:
    """The range of all inputs, if it is one."""
    (first, *others) = set(ranges.values()) or {None}
    return None if others else first


def _unique_labels(model: keras.Model, labels: Sequence[str]) -> tuple[str, ...]:
    if len(model.outputs) != 1:
        raise ValueError(f"labels need a model with one output; {model.name!r} has {len(model.outputs)}.")
    check_labels(labels, model.outputs[0].shape[-1])
    if double := sorted({name for name in labels if list(labels).count(name) > 1}):
        raise ValueError(f"labels are unique; given more than once: {double}.")
    return tuple(labels)
