"""Files held against the model on all of a holdout, in one pass for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from ..errors import ExportError
from ..parity import Comparison, Sample
from ..report import Quality
from .finite import check_finite
from .samples import expected_of, named_inputs, rows, weighted
from .targets import ONE_OF_TWO, SEVERAL, Reading, counted

_AT_ONCE = 32
Run = Callable[[Sample], Sample]


@dataclass(frozen=True)
class Measured:
    """What was measured of one file.

    Attributes:
        comparison: Its differences from the model.
        quality: Its accuracy and the model's; None if that can't be measured.
    """

    comparison: Comparison
    quality: Quality | None


def measured(
    model: keras.Model, data: Any, reading: Reading, artifacts: Mapping[str, tuple[Run, Mapping[str, str]]]
) -> tuple[dict[str, Measured | ExportError], str]:
    """Hold files against the model on all samples of a holdout.

    Args:
        model: The model.
        data: The holdout.
        reading: What its targets are.
        artifacts: Each file as a function of named inputs, and what computes its outputs; see `Comparison`.

    Returns:
        What was measured of each file, or why it is none of the model's; and why no accuracy was measured.

    Raises:
        ValueError: The model gives NaN for a sample, or class numbers fit far better less 1.
    """
    comparisons = {name: Comparison(producers) for name, (_, producers) in artifacts.items()}
    said: dict[str, list[np.ndarray]] = {name: [] for name in artifacts}
    failures: dict[str, ExportError] = {}
    mine: list[np.ndarray] = []
    truth: list[np.ndarray] = []
    unbounded, index = False, 0
    for inputs, targets, weights in weighted(data):
        named = named_inputs(model, inputs)
        count = len(next(iter(named.values())))
        counts = counted(weights, count)
        if reading.kind:
            truth.append(reading.truth(np.asarray(targets)[counts]))
        for begin in range(0, count, _AT_ONCE):
            samples = list(rows({k: v[begin : begin + _AT_ONCE] for k, v in named.items()}))
            expected = expected_of(model, samples)
            places = range(index, index + len(samples))
            check_finite(model, samples, expected, places)
            index = places.stop
            for place, sample, wanted in zip(places, samples, expected, strict=True):
                scored = bool(reading.kind) and counts[begin + place - places.start]
                if scored:
                    (scores,) = wanted.values()
                    unbounded |= bool(np.any((scores < 0) | (scores > 1)))
                    mine.append(reading.named(scores))
                for name, (run, _) in artifacts.items():
                    if name in failures:
                        continue
                    try:
                        got = run(sample)
                        comparisons[name].add(got, wanted, place)
                    except ExportError as error:
                        failures[name] = error
                        continue
                    if scored:
                        said[name].append(reading.named(*got.values()))
    reason = reading.reason
    if reading.kind in (ONE_OF_TWO, SEVERAL) and unbounded:
        reason = (
            "the targets are 0 and 1, but the outputs leave 0 to 1: they are logits, whose threshold is 0, "
            "or those of a regression, whose threshold is 0.5. Where they are logits, end the exported model "
            'with a sigmoid: keras.Model(model.input, keras.layers.Activation("sigmoid")(model.output))'
        )
    found: dict[str, Measured | ExportError] = dict(failures)
    for name in artifacts.keys() - failures.keys():
        quality = None
        if not reason:
            ours, theirs, true = (np.concatenate(part) for part in (mine, said[name], truth))
            if reading.from_one:
                _check_first(ours, true)
            quality = Quality.of(ours, theirs, true, reading.kind)
        found[name] = Measured(comparisons[name], quality)
    return {name: found[name] for name in artifacts}, reason


def _check_first(ours: np.ndarray, true: np.ndarray) -> None:
    """Raise ValueError if class numbers from 1 on are right far more often less 1, for the model itself."""
    right, shifted = int(np.sum(ours == true)), int(np.sum(ours == true - 1))
    if shifted - right > 3 * np.sqrt(len(true)):  # what chance alone does not come to
        raise ValueError(
            f"The holdout's labels run from 1 to {true.max()}. As they are, the model is right for {right} "
            f"of {len(true)} samples; less 1, so that the first class is 0, for {shifted}. Subtract 1, or, "
            "if class 0 is missing, give them in the order of the output's columns."
        )
