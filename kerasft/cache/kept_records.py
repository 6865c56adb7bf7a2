"""KeptRecords: records of earlier runs, in which values are looked up before they are computed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from kerasft.cache.cuts import Cut, value_places
from kerasft.cache.records import SampleIndex, SavedRecord
from kerasft.typing import Crossing


class KeptRecords:
    """Records that earlier runs saved, one for each cut.

    They give values of samples, and nothing else: which samples a run trains on, and in which order, is not
    taken from them.
    """

    def __init__(self) -> None:
        self._records: dict[int, SavedRecord] = {}  # by the cut's position

    def put(self, cut: Cut, record: SavedRecord) -> None:
        """Look up values at a cut in a record from now on."""
        self._records[cut.position] = record

    def drop(self, cut: Cut) -> None:
        """Look up no values at a cut any more."""
        self._records.pop(cut.position, None)

    def drop_all_but(self, cuts: Collection[Cut]) -> None:
        """Look up values at these cuts alone."""
        for position in self._records.keys() - {cut.position for cut in cuts}:
            del self._records[position]

    def has_just(self, cut: Cut, index: SampleIndex) -> bool:
        """Whether the record at a cut has these samples and no others, and the order of epochs."""
        record = self._records.get(cut.position)
        return record is not None and record.order is not None and record.index.digest() == index.digest()

    def look_up(
        self, cuts: Sequence[Cut], fingerprints: np.ndarray
    ) -> tuple[list[Crossing], dict[int, np.ndarray]] | None:
        """Look up the samples of a batch.

        Args:
            cuts: The cuts, the one in force first.
            fingerprints: The samples' fingerprints.

        Returns:
            As `DividedModel.run_prefix`: for each of `cuts` its values, each with its mask or None; and the
            extra inputs by their numbers. None if something of it is in no record.
        """
        records = [self._records.get(cut.position) for cut in cuts]
        values: list[Crossing] = []
        inputs: dict[int, np.ndarray] = {}
        for record in records:
            rows = np.array([-1]) if record is None else record.index.known(fingerprints)
            if record is None or (rows < 0).any():
                return None
            columns = record.values.take(record.positions[rows])
            places = zip(value_places(record.masked), record.masked, strict=True)
            values.append([(columns[i], columns[i + 1] if has_mask else None) for i, has_mask in places])
            inputs.update(zip(record.extra_inputs, record.other_columns.take(rows), strict=False))
        numbers = sorted({number for cut in cuts for number in cut.extra_inputs})
        return (values, {n: inputs[n] for n in numbers}) if inputs.keys() >= set(numbers) else None
