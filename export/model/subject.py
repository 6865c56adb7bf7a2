"""What is exported: a model in float32, its names and preprocessing, and the data it is held against."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from ..parity import Sample
from ..report import Quality
from ..tflite_file import LiteRTModel
from .calibration import Calibration, calibration
from .float32 import in_float32
from .samples import (
    batches,
    class_labels,
    endless,
    expected_of,
    expected_range,
    is_classifier,
    named_inputs,
    outputs_of,
    random_samples,
    rescaling,
    rows,
    samples_of,
)
from .signature import check_model

_GOLDEN = 16


@dataclass(frozen=True)
class Subject:
    """A model that is ready for export, and what its files are checked with.

    Attributes:
        model: The model, computing in float32.
        batch: The batch size of its files; None for any.
        labels: Names of the classes, or None.
        input_range: Lowest and highest input value, as said, or None.
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
    input_range: tuple[float, float] | None
    normalization: tuple[Any, Any] | None
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
        normalization: tuple[Any, Any] | None = None,
        holdout: Any = None,
        representative_data: Any = None,
    ) -> Subject:
        """Check a model and all that comes with it; see `to_tflite`.

        Raises:
            TypeError, ValueError: Something is wrong, with what to do about it.
            ExportError: The model can't be built again in float32.
        """
        check_model(model)
        if batch is not None and batch != 1:
            raise ValueError(f"batch is 1, or None for any batch size; received {batch!r}.")
        if input_range is not None:
            input_range = float(input_range[0]), float(input_range[1])
            if not input_range[0] < input_range[1]:
                raise ValueError(f"input_range is (lowest, highest); received {input_range}.")
        strings = [t.name for t in model.inputs if t.dtype == "string"]
        if strings:
            raise ValueError(
                f"The inputs {strings} are strings, which TFLite's built-in operations can't split. Export "
                "two files: to_saved_model of the whole model, and to_tflite of the part that begins with "
                "token ids, with vocabulary and split rules beside it: layer.get_vocabulary(), "
                "layer.get_config()."
            )
        if endless(holdout):
            raise ValueError(
                "The holdout never ends, and all of it is measured. Give a finite part of it, "
                "such as dataset.take(100)."
            )
        names = _check_labels(model, labels)
        if normalization is not None:
            normalization = _plain(normalization[0]), _plain(normalization[1])
        preprocessing = _preprocessing(model, normalization)
        open_axes = [t.name for t in model.inputs if None in tuple(t.shape)[1:]]
        data = representative_data if holdout is None else holdout
        if open_axes and data is None:
            raise ValueError(
                f"The inputs {open_axes} have open axes, and their size on the device is not known. Give a "
                "holdout of the size to check, or fix it: inputs = keras.Input((224, 224, 3)); "
                "keras.Model(inputs, model(inputs)), with your own size."
            )
        floats = in_float32(model)
        chosen = None
        if representative_data is not None:
            chosen = calibration(
                floats, representative_data, labels=names, input_range=input_range, holdout=holdout
            )
        if data is None:
            samples = random_samples(floats, expected_range(floats, input_range), _GOLDEN)
        elif holdout is None and chosen is not None:
            samples = list(chosen.samples[:_GOLDEN])
        else:
            samples = samples_of(floats, holdout, _GOLDEN)
        if not samples:
            raise ValueError("The holdout is empty.")
        expected = expected_of(floats, samples)
        return cls(
            floats, batch, names, input_range, normalization, preprocessing, tuple(samples), tuple(expected),
            holdout, chosen,
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


def _plain(value: Any) -> float | tuple[float, ...]:
    """One number, or one for each channel, as a report keeps it."""
    array = np.asarray(value, "float64")
    return tuple(array.ravel().tolist()) if array.ndim else float(array)


def _grown(value: np.ndarray, axes: list[int]) -> np.ndarray:
    widths = [(0, max(1, n // 4) if axis in axes else 0) for axis, n in enumerate(value.shape)]
    return np.pad(value, widths, mode="wrap")


def _shrunk(value: np.ndarray, axes: list[int]) -> np.ndarray:
    kept = [slice(max(1, n - max(1, n // 4)) if axis in axes else n) for axis, n in enumerate(value.shape)]
    return value[tuple(kept)]


def _classes(outputs: Sample) -> list[int]:
    (scores,) = outputs.values()
    return np.argmax(scores, axis=-1).tolist()


def _check_labels(model: keras.Model, labels: Sequence[str] | None) -> tuple[str, ...] | None:
    if labels is None:
        return None
    if isinstance(labels, str) or not all(isinstance(n, str) and n.strip() for n in labels):
        raise ValueError(f"labels is a list of names, none of them empty; received {labels!r}.")
    if len(model.outputs) != 1:
        raise ValueError(f"labels need a model with one output; {model.name!r} has {len(model.outputs)}.")
    count = model.outputs[0].shape[-1]
    if len(labels) != count:
        raise ValueError(f"There are {len(labels)} labels, but the model has {count} outputs.")
    double = sorted({n for n in labels if list(labels).count(n) > 1})
    if double:
        raise ValueError(f"labels are unique; given more than once: {double}.")
    return tuple(labels)


def _preprocessing(model: keras.Model, normalization: tuple[Any, Any] | None) -> str:
    found = [
        f"Rescaling(scale={layer.scale}, offset={layer.offset})"
        if isinstance(layer, keras.layers.Rescaling)
        else "Normalization"
        for layer in rescaling(model)
    ]
    if normalization is None:
        return "in the graph: " + ", ".join(found) if found else "none"
    if found:
        raise ValueError(
            f"The model normalizes its input itself ({', '.join(found)}), so normalization={normalization} "
            "would be applied twice. Leave it out."
        )
    mean, std = normalization
    if np.any(np.asarray(std) <= 0):
        raise ValueError(f"The standard deviation of normalization is above 0; received {std!r}.")
    return f"by the client: (x - {mean}) / {std}"
