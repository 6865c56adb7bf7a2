"""The subject of an export: a model in float32, its names, its preprocessing, and the data to check with."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ..errors import ExportError
from ..parity import Sample
from ..report import Channels, check_labels
from ..text import Text
from .calibration import Calibration, calibration
from .finite import check_finite
from .holdout import Golden, looked_at
from .measured import Measured, Run, measured
from .pipeline import Prepared, prepared
from .preprocessing import Preprocessing, Range, channel_values
from .ranges import held_against_data
from .samples import endless, expected_of, outputs_of, random_samples
from .signature import check_model, serving_of
from .targets import Reading

_MADE_UP = 16


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
        places: Where in the holdout the golden inputs are.
        reading: What the holdout's targets are; None without a holdout.
        text: How strings become the model's inputs, where that is WordPiece; else None.
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
    places: tuple[int, ...]
    reading: Reading | None
    text: Text | None = None

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
        text: Text | None = None,
        calibration_samples: int = 128,
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
        _check_no_strings(model)
        if endless(holdout):
            raise ValueError(
                "The holdout never ends, and all of it is measured. Give a finite part of it, "
                "such as dataset.take(100)."
            )
        ready = prepared(model, holdout, representative_data, text=text)
        floats, holdout = ready.model, ready.data(holdout)
        representative_data = ready.data(representative_data)
        _check_sizes(floats, known=holdout is not None or representative_data is not None)
        names = None if labels is None else _labels(floats, labels)
        signature = serving_of(floats, batch)
        preprocessing = Preprocessing.of(floats, signature)
        described = _joined(ready, preprocessing.describe(normalization))
        chosen = None
        if representative_data is not None:
            chosen = calibration(
                floats, representative_data, labels=names, holdout=holdout, count=calibration_samples
            )
        ranges, question = held_against_data(floats, preprocessing, input_range, chosen, holdout)
        golden, reading = _golden(floats, holdout, names, chosen, ranges, preprocessing)
        expected = expected_of(floats, golden.samples, alone=True)
        if holdout is None and chosen is None:
            golden, expected = _sound(golden, expected)
        check_finite(floats, golden.samples, expected, golden.places)
        return cls(
            floats, batch, names, signature, _shared(ranges), question, normalization, described,
            tuple(golden.samples), tuple(expected), holdout, chosen, tuple(golden.places), reading,
            ready.text,
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

    @property
    def not_measured(self) -> str:
        """Why no accuracy can be measured, as far as the holdout shows it; or ""."""
        return "there is no holdout" if self.reading is None else self.reading.reason

    def measured(
        self, artifacts: Mapping[str, tuple[Run, Mapping[str, str]]]
    ) -> tuple[dict[str, Measured | ExportError], str]:
        """Files held against the model on all of the holdout, in one pass; {} without one; see `measured`."""
        if self.reading is None:
            return {}, self.not_measured
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


def _joined(ready: Prepared, described: str) -> str:
    """Where preprocessing happens: what `predict` does beside the call, and what the graph does."""
    if not ready.words or described == "none":
        return ready.words or described
    place, _, what = described.partition(": ")
    return f"{ready.words}, {what}" if ready.words.startswith(place) else f"{ready.words}; {described}"


def _check_no_strings(model: keras.Model) -> None:
    """Raise unless TFLite can take the inputs."""
    if strings := [t.name for t in model.inputs if t.dtype == "string"]:
        raise ValueError(
            f"The inputs {strings} are strings, which TFLite's built-in operations can't split"
            f"{_splitting(model)}. Export two files: to_saved_model of the whole model, and to_tflite of the "
            "part that begins with token ids, with vocabulary and split rules beside it: "
            "layer.get_vocabulary(), layer.get_config()."
        )


def _splitting(model: keras.Model) -> str:
    """The operations on strings that a model holds, for a message."""
    signature = keras.tree.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), model.input)
    called = tf.function(lambda x: model(x, training=False), autograph=False)
    graph = called.get_concrete_function(signature).graph.as_graph_def()
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    found = sorted({n.op for n in nodes if re.search("String|Regex|Unicode|Substr|ReduceJoin|Lookup", n.op)})
    return f" (the model holds {', '.join(found)})" if found else ""


def _check_sizes(model: keras.Model, *, known: bool) -> None:
    """Raise if the sizes of open axes are not known; `known` is whether data show them."""
    open_axes = [t.name for t in model.inputs if None in tuple(t.shape)[1:]]
    if open_axes and not known:
        raise ValueError(
            f"The inputs {open_axes} have open axes, and their size on the device is not known. Give a "
            "holdout of the size to check, or fix it: inputs = keras.Input((224, 224, 3)); "
            "keras.Model(inputs, model(inputs)), with your own size."
        )


def _golden(
    model: keras.Model,
    holdout: Any,
    labels: Sequence[str] | None,
    chosen: Calibration | None,
    ranges: Mapping[str, Range | None],
    preprocessing: Preprocessing,
) -> tuple[Golden, Reading | None]:
    """Golden samples of the holdout, of the calibration, or made up; and what the holdout's targets are."""
    if holdout is not None:
        return looked_at(model, holdout, labels)
    golden = Golden()
    made_up = () if chosen is not None else random_samples(model, ranges, _MADE_UP, preprocessing.before)
    for sample in made_up if chosen is None else chosen.samples:
        golden.add(sample)
    return golden, None


def _sound(golden: Golden, expected: list[Sample]) -> tuple[Golden, list[Sample]]:
    """Made-up samples without those for which the model gives NaN, unless it gives it for all.

    A division by the length of a vector of zeros does, say, and no sample of real data need be like that.
    """
    pairs = list(zip(golden.samples, expected, strict=True))
    kept = [p for p in pairs if all(np.all(np.isfinite(v)) for v in p[1].values())]
    if not kept:
        return golden, expected
    sound = Golden()
    for sample, _ in kept:
        sound.add(sample)
    return sound, [outputs for _, outputs in kept]


def _shared(ranges: Mapping[str, Range | None]) -> Range | None:
    """The range of all inputs, if it is one."""
    (first, *others) = set(ranges.values()) or {None}
    return None if others else first


def _labels(model: keras.Model, labels: Sequence[str]) -> tuple[str, ...]:
    if len(model.outputs) != 1:
        raise ValueError(f"labels need a model with one output; {model.name!r} has {len(model.outputs)}.")
    shape = tuple(model.outputs[0].shape)
    return check_labels(labels, shape[-1] if len(shape) > 1 else 1, pair=True)
