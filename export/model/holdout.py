"""One pass over a holdout before anything is converted: its golden samples, and what its targets are."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from ..parity import Sample
from .samples import named_inputs, row_of, weighted
from .targets import Reading, counted

_EVENLY = 16
_CLASSES = 24


class Golden:
    """The samples of a stream on which a file is looked at first: few, and as different as they come.

    They are the first and the last, those with the least and the greatest value of each input, the most and
    the fewest zeros (padding, of token ids and masks) and the largest and the smallest size, the first of
    each of 24 classes, and 16 or fewer at even distances. The same stream gives the same samples.
    """

    def __init__(self) -> None:
        self._best: dict[tuple[str, ...], tuple[float, int]] = {}
        self._kept: dict[int, Sample] = {}
        self._classes: dict[int, int] = {}
        self._even: list[int] = []
        self._step = 1
        self._count = 0

    def add(self, named: Sample, classes: np.ndarray | None = None) -> None:
        """Look at a batch of named inputs, and at the class of each if they have one."""
        size, begin = len(next(iter(named.values()))), self._count
        chosen: set[int] = set()
        for name, value in named.items() if size else ():
            flat = value.reshape(size, -1)
            flat = np.abs(flat) if flat.dtype.kind == "c" else flat
            if not flat.size:
                continue
            zeros = (flat == 0).sum(1)
            measures = {
                "least": -flat.min(1).astype("float64"), "greatest": flat.max(1).astype("float64"),
                "zeros": zeros, "fewest zeros": -zeros,
                "largest": np.full(size, flat.shape[1]), "smallest": np.full(size, -flat.shape[1]),
            }  # fmt: skip
            for what, measure in measures.items():
                i = int(np.argmax(np.where(np.isnan(measure), -np.inf, measure)))
                if (name, what) not in self._best or measure[i] > self._best[name, what][0]:
                    self._best[name, what] = float(measure[i]), begin + i
                    chosen.add(i)
        for i, number in enumerate(() if classes is None else classes.tolist()):
            if number not in self._classes and len(self._classes) < _CLASSES:
                self._classes[number] = begin + i
                chosen.add(i)
        for i in range(size):
            if (begin + i) % self._step == 0:
                self._even.append(begin + i)
                chosen.add(i)
                if len(self._even) > _EVENLY:
                    self._even, self._step = self._even[::2], 2 * self._step
        self._count += size
        if size:
            self._best["last",] = 0.0, self._count - 1
            chosen.add(size - 1)
        self._kept |= {begin + i: row_of(named, i) for i in chosen}
        needed = {i for _, i in self._best.values()} | {*self._classes.values(), *self._even}
        self._kept = {i: row for i, row in self._kept.items() if i in needed}

    @property
    def samples(self) -> list[Sample]:
        """Those chosen so far, each of batch size one, in the order of the stream."""
        return [self._kept[i] for i in sorted(self._kept)]

    @property
    def places(self) -> list[int]:
        """Where in the stream they are."""
        return sorted(self._kept)


def looked_at(model: keras.Model, data: Any, labels: Any) -> tuple[Golden, Reading]:
    """Golden samples of a holdout, and what its targets are.

    Raises:
        ValueError: It is empty, or inputs or targets are not the model's.
    """
    golden, reading = Golden(), Reading([tuple(t.shape) for t in model.outputs], labels)
    for inputs, targets, weights in weighted(data):
        named = named_inputs(model, inputs)
        count = len(next(iter(named.values())))
        reading.add(targets, count, weights)
        golden.add(named, reading.classes(targets) if counted(weights, count).all() else None)
    if not golden.samples:
        raise ValueError("The holdout is empty.")
    return golden, reading
