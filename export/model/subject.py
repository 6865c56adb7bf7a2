"""The subject of an export: a model in float32, its names, its preprocessing, and the data to check with."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from ..errors import ExportError
from ..parity import Sample
from ..report import Channels, check_labels
from .calibration import Calibration, calibration
from .finite import check_finite
from .float32 import in_float32
from .holdout import Golden, looked_at
from .measured import Measured, Run, measured
from .preprocessing import channel_values, describe_preprocessing, expected_range
from .samples import endless, expected_of, outputs_of, random_samples
from .signature import check_model
from .targets import Reading

_MADE_UP = 16


@dataclass(frozen=True)
class Subject:
    """A model that is ready for export, and what its files are checked with.

    Attributes:
        model: The model, computing in float32.
        batch: The batch size of its files; None for any.
        labels: Names of the classes, or None.
        input_range: Lowest and highest input value, as given, or None.
        normalization: (mean, std) that the client applies, or None.
        preprocessing: Where preprocessing happens, in words.
        samples: Golden inputs of batch size one.
        expected: What the model gives for them.
        holdout: Held-out data, or None.
        calibration: Samples for int8, or None.
        places: Where in the holdout the golden inputs are.
        reading: What the holdout's targets are; None without a holdout.
    """

    model: keras.Model
    batch: int | None
    labels: tuple[str, ...] | None
    input_range: tuple[float, float] | None
    normalization: tuple[Channels, Channels] | None
    preprocessing: str
    samples: tuple[Sample, ...]
    expected: tuple[Sample, ...]
    holdout: Any
    calibration: Calibration | None
    places: tuple[int, ...]
    reading: Reading | None

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
            ExportError: The model can't be built again in float32.
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
        names = None if labels is None else _labels(model, labels)
        preprocessing = describe_preprocessing(model, normalization)
        floats = in_float32(model)
        chosen = None
        if representative_data is not None:
            chosen = calibration(
                floats, representative_data, labels=names, input_range=input_range, holdout=holdout
            )
        reading = None
        if holdout is not None:
            golden, reading = looked_at(floats, holdout, names)
            samples, places = golden.samples, golden.places
            expected = expected_of(floats, samples)
        else:
            samples, expected = _golden_samples(floats, chosen, input_range)
            places = list(range(len(samples)))
        check_finite(floats, samples, expected, places)
        return cls(
            floats, batch, names, input_range, normalization, preprocessing, tuple(samples), tuple(expected),
            holdout, chosen, tuple(places), reading,
        )  # fmt: skip

    def larger(self) -> list[tuple[Sample, Sample]]:
        """Inputs of other sizes than the golden ones, with what the model gives: for axes that are open."""
        found: list[tuple[Sample, Sample]] = []
        shapes = {k: v.shape for k, v in self.samples[0].items()}
        alike = [s for s in self.samples if {k: v.shape for k, v in s.items()} == shapes]
        if self.batch is None and len(alike) > 2:
            three = {k: np.concatenate([s[k] for s in alike[:3]]) for k in shapes}
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

    @property
    def crowded(self) -> str:
        """A sentence on the inputs whose small columns int8 can't tell apart, beside large ones; or ""."""
        samples = self.calibration.samples if self.calibration is not None else ()
        found = [name for name in (samples[0] if samples else ()) if _is_crowded([s[name] for s in samples])]
        return (
            f"The inputs {found} have columns of very different size, and int8 has one scale for all of "
            "them: normalize them before the model, or give the small and the large ones as two inputs."
            if found
            else ""
        )

    def measured(
        self, artifacts: Mapping[str, tuple[Run, Mapping[str, str]]]
    ) -> tuple[dict[str, Measured | ExportError], str]:
        """Files held against the model on all of the holdout, in one pass; {} without one; see `measured`."""
        if self.reading is None:
            return {}, "there is no holdout"
        return measured(self.model, self.holdout, self.reading, artifacts)


def _is_crowded(values: Sequence[np.ndarray]) -> bool:
    """Whether a float input has columns that vary by less than one of the 255 steps of all of it."""
    if values[0].dtype.kind != "f" or values[0].ndim < 2:
        return False
    columns = np.concatenate([v.reshape(-1, v.shape[-1]) for v in values]).astype("float64")
    deviation = columns.std(0)
    return bool(np.any((deviation > 0) & (deviation < np.ptp(columns) / 255)))


def _grown(value: np.ndarray, axes: list[int]) -> np.ndarray:
    widths = [(0, max(1, n // 4) if axis in axes else 0) for axis, n in enumerate(value.shape)]
    return np.pad(value, widths, mode="wrap")


def _shrunk(value: np.ndarray, axes: list[int]) -> np.ndarray:
    kept = [slice(max(1, n - max(1, n // 4)) if axis in axes else n) for axis, n in enumerate(value.shape)]
    return value[tuple(kept)]


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
    model: keras.Model, chosen: Calibration | None, input_range: tuple[float, float] | None
) -> tuple[list[Sample], list[Sample]]:
    """Golden samples of the calibration, or made up, and what the model gives for them.

    Of made-up ones those are left out for which the model gives NaN, as a division by the length of a vector
    of zeros does: no sample of real data need be like that.
    """
    if chosen is not None:
        golden = Golden()
        for sample in chosen.samples:
            golden.add(sample)
        return golden.samples, expected_of(model, golden.samples)
    samples = random_samples(model, expected_range(model, input_range), _MADE_UP)
    pairs = list(zip(samples, expected_of(model, samples), strict=True))
    sound = [p for p in pairs if all(np.all(np.isfinite(v)) for v in p[1].values())] or pairs
    return [sample for sample, _ in sound], [outputs for _, outputs in sound]


def _labels(model: keras.Model, labels: Sequence[str]) -> tuple[str, ...]:
    if len(model.outputs) != 1:
        raise ValueError(f"labels need a model with one output; {model.name!r} has {len(model.outputs)}.")
    shape = tuple(model.outputs[0].shape)
    return check_labels(labels, shape[-1] if len(shape) > 1 else 1, pair=True)
