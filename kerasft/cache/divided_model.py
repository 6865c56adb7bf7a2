"""DividedModel: a model's frozen part and the rest of it, traced for the steps of one kind."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasft.cache.cut_plan import FitCuts
from kerasft.cache.cuts import Cut, Prefix, Suffix, leaves, trace_prefix, without_optionals
from kerasft.cache.records import StorageError
from kerasft.cache.samples import are_close, check_spec, sample_fingerprints
from kerasft.typing import Batch, Columns, Crossing


class DividedModel:
    """A model in two parts, each traced when it is first needed.

    Args:
        model: The whole compiled model.
        training: Whether steps train it, rather than test it.

    Attributes:
        cuts: The cut in force, then coming cuts that are recorded with it; empty before `prepare`.
        traced_prefixes: How often the frozen part was made ready to run.
    """

    def __init__(self, model: keras.Model, training: bool) -> None:
        self._model, self._training = model, training
        self.traced_prefixes = 0
        self.forget()

    def forget(self) -> None:
        """Trace and check everything again before the next step."""
        self.retrace()
        self._is_checked = False  # whether samples are known not to depend on each other
        self._seconds_per_cost = math.inf  # of the prefix, in the fastest batch

    def retrace(self) -> None:
        """Trace both parts again before the next step."""
        self.cuts: list[Cut] = []
        self._prefix: Prefix | None = None
        self._suffix: Suffix | None = None

    def describe(self, spec: Any) -> None:
        """Get ready for `fingerprints` of data with a specification, as an iterator gives it.

        Raises:
            StorageError: Such data can't be recorded.
        """
        self._spec = without_optionals(spec)
        check_spec(self._spec)
        traced = tf.function(lambda *given: sample_fingerprints(given), autograph=False)
        self._fingerprints = traced.get_concrete_function(*leaves(self._spec))

    def prepare(self, finder: FitCuts, spec: Any) -> None:
        """Find the cuts for data with a specification.

        Raises:
            NoCutError: There is none.
            StorageError: Such data can't be recorded.
        """
        self.describe(spec)
        self._finder, self.cuts = finder, finder.find(finder.nondeterministic)

    @property
    def is_prepared(self) -> bool:
        """Whether the cuts are known."""
        return bool(self.cuts)

    @property
    def cut(self) -> Cut:
        """The cut in force."""
        return self.cuts[0]

    @property
    def seconds_per_cost(self) -> float:
        """What the fastest batch took in the prefix, for a unit of `Cut.cost`; 0 if none ran."""
        return self._seconds_per_cost if math.isfinite(self._seconds_per_cost) else 0.0

    def fingerprints(self, batch: Batch) -> np.ndarray:
        """Compute a fingerprint of all data of each sample."""
        found: np.ndarray = self._fingerprints(*leaves(without_optionals(batch))).numpy()
        return found

    def run_prefix(self, batch: Batch) -> tuple[list[Crossing], dict[int, Any]]:
        """Run the frozen layers on a batch; tracing them may show that `cuts` have to be others.

        Returns:
            For each of `cuts` its values, each with its mask or None; and the extra inputs by their numbers.

        Raises:
            NoCutError: Tracing shows that there is no cut.
            StorageError: What a sample gives depends on the others in its batch.
        """
        prefix = self._traced_prefix()
        x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        begin = time.perf_counter()
        values, masks, inputs = prefix(x)
        seconds = time.perf_counter() - begin
        cost = int(values[0][0].shape[0]) * max(cut.cost for cut in prefix.cuts)
        self._seconds_per_cost = min(self._seconds_per_cost, seconds / cost)
        if not self._is_checked:
            self._is_checked = True
            _check_independence(prefix, x, values)
        crossings: list[Crossing] = [list(zip(v, m, strict=True)) for v, m in zip(values, masks, strict=True)]
        return crossings, dict(zip(prefix.extra_inputs, inputs, strict=True))

    def suffix(self, columns: Columns, masked: Sequence[bool], extra_inputs: Sequence[int]) -> Suffix:
        """Return the traced suffix, for columns like these; `Suffix` says what they are."""
        if self._suffix is None:
            self._suffix = Suffix(
                self._model, self.cut, self._spec, masked, extra_inputs, columns, self._training
            )
        return self._suffix

    def _traced_prefix(self) -> Prefix:
        if self._prefix is None:
            x, _, _ = keras.utils.unpack_x_y_sample_weight(self._spec)
            finder = self._finder
            self.traced_prefixes += 1
            self._prefix = trace_prefix(
                finder.find, x, self._training, finder.nondeterministic, finder.traced
            )
            if self._prefix.cuts[0].position != self.cut.position:
                self._suffix = None
            self.cuts = list(self._prefix.cuts)
        return self._prefix


def _check_independence(prefix: Prefix, x: Any, values: Sequence[Any]) -> None:
    """Raise if what the prefix gives for a sample depends on the others in its batch.

    Raises:
        StorageError: Every second sample gives something else when the batch has no others.
    """
    flat = [value for each in values for value in each]
    rows = len(keras.tree.flatten(x)[0])
    if any(value.shape[:1].as_list() != [rows] for value in flat):
        raise StorageError("What the frozen layers give does not have a row for each sample.")
    second = np.arange(0, rows, 2)
    others = prefix(keras.tree.map_structure(lambda t: tf.gather(t, np.tile(second, 2)[:rows]), x))[0]
    for value, other in zip(flat, [other for each in others for other in each], strict=True):
        if not are_close(tf.gather(value, second), other[: len(second)]):
            raise StorageError("What the frozen layers give for a sample depends on the others in its batch.")
