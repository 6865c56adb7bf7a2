"""Representative data for calibration: enough of every class, finite, and not the holdout."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from ..parity import Sample
from .samples import batches, named_inputs, rows, weighted
from .targets import SEVERAL, Reading, counted

_MOST = 10_000  # samples that are read to find all classes


@dataclass(frozen=True)
class Calibration:
    """Samples of batch size one on which the ranges of activations are measured."""

    samples: tuple[Sample, ...]


def calibration(
    model: keras.Model,
    data: Any,
    *,
    labels: Sequence[str] | None,
    holdout: Any = None,
    count: int = 128,
) -> Calibration:
    """Choose samples for calibration, the classes as evenly as the data give them.

    Args:
        model: The model whose inputs they are.
        data: Unaugmented data, as for `to_tflite`; if they have labels, every class has to be there.
        labels: Names of the classes, which targets may be.
        holdout: Held-out data, which have to be others.
        count: How many samples; more if there are more classes, for one of each.

    Raises:
        ValueError: There are no data, or they have another shape, are not finite, lack a class
            or share samples with the holdout.
    """
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ValueError(f"calibration_samples is a whole number of 1 or more; received {count!r}.")
    reading = Reading([tuple(t.shape) for t in model.outputs], labels, "representative_data")
    classes = max(2, reading.units)
    share = max(1, count // classes)
    chosen: dict[int | None, list[Sample]] = {}
    rest: list[Sample] = []
    read, labelled = 0, False
    for inputs, targets, weights in weighted(data):
        named = named_inputs(model, inputs)
        size = len(next(iter(named.values())))
        reading.add(targets, size, weights)
        truth = reading.classes(targets) if counted(weights, size).all() else None
        labelled = labelled or truth is not None
        for i, row in enumerate(rows(named)):
            read += 1
            group = chosen.setdefault(int(truth[i]) if truth is not None else None, [])
            most = share if truth is not None else count
            (group if len(group) < most else rest if len(rest) < count else []).append(row)
        full = not labelled or all(len(chosen.get(i, ())) >= share for i in range(classes))
        if (full and read >= count) or read >= _MOST:
            break
    if not read:
        raise ValueError("representative_data is empty: int8 measures the ranges of activations on it.")
    if labelled and reading.kind != SEVERAL:
        _check_classes(chosen, classes, labels, read)
    # one class after the other in turn: the first few are golden inputs, too
    turns = itertools.zip_longest(*chosen.values())
    samples = [row for turn in turns for row in turn if row is not None]
    samples += rest[: max(0, count - len(samples))]
    _check_finite(samples)
    if holdout is not None:
        _check_disjoint(model, samples, holdout)
    return Calibration(tuple(samples))


def _check_classes(
    chosen: Mapping[int | None, Sequence[Sample]], classes: int, labels: Sequence[str] | None, read: int
) -> None:
    missing = [labels[i] if labels else i for i in range(classes) if i not in chosen]
    if missing:
        raise ValueError(
            f"representative_data lack the classes {missing} in {read:,} samples; activations that only they "
            "cause would be cut off. Add some samples of each."
        )


def _check_finite(samples: Sequence[Sample]) -> None:
    values = [v for s in samples for v in s.values() if np.issubdtype(v.dtype, np.floating)]
    if not all(np.all(np.isfinite(v)) for v in values):
        raise ValueError("representative_data hold values that are not finite; leave those samples out.")


def _check_disjoint(model: keras.Model, samples: Sequence[Sample], holdout: Any) -> None:
    known = {_digest(s) for s in samples}
    double = sum(
        _digest(row) in known for inputs, _ in batches(holdout) for row in rows(named_inputs(model, inputs))
    )
    if double > 0.05 * len(samples):  # a data set may hold an image twice
        raise ValueError(
            f"{double} of the holdout's samples are in representative_data as well, so that the measured "
            "drop would be too small. Calibrate on training data."
        )


def _digest(sample: Sample) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(sample):
        digest.update(np.ascontiguousarray(sample[name]).tobytes())
    return digest.digest()
