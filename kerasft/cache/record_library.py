"""RecordLibrary: records that stay in a folder, for later runs with the same data and frozen weights."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasft.cache.cuts import Cut
from kerasft.cache.later_cut import record_at_later_cut
from kerasft.cache.recording import Recording
from kerasft.cache.records import SavedRecord, Storage, read_records, write_record
from kerasft.cache.samples import are_close

logger = logging.getLogger(__name__)

PROBED = 4  # samples of a saved record that are computed again


@dataclass(frozen=True, eq=False)
class FirstSamples:
    """The first batch of a source, which a saved record must have.

    Attributes:
        x: The model's inputs.
        fingerprints: The samples' fingerprints.
    """

    x: Any
    fingerprints: np.ndarray


class RecordLibrary:
    """Finds saved records for a cut, makes them from records at earlier cuts, and saves new ones.

    Args:
        folder: Where records are.
        training: Whether they are of training data, rather than validation data.
        dtype: Of recorded floats: "float32" or "float16".
        store: Where the tables of new records are.

    Attributes:
        derived_records: How many records were made from records at earlier cuts.
    """

    def __init__(self, folder: Path, training: bool, dtype: str, store: Storage) -> None:
        self._folder, self._training, self._dtype, self._store = folder, training, dtype, store
        self.derived_records = 0

    def find(self, cut: Cut, recording: Recording, first: FirstSamples) -> SavedRecord | None:
        """Find the newest record at a cut that fits.

        Args:
            cut: The cut.
            recording: Its samples are those that the record must have, if there are any yet.
            first: The first samples of the source, which the record must have, with the values that the
                frozen layers give now.
        """
        for path, found in read_records(self._folder_of(cut)):
            if not recording.has_samples_of(found, first.fingerprints.tolist()):
                continue
            if self._has_values_of(cut, found, first):
                logger.info("Using the record kept in %s.", path)
                return found
            logger.warning("The record in %s is of other layers; it is not used.", path)
        return None

    def derive(
        self, cut: Cut, earlier: Sequence[Cut], recording: Recording, first: FirstSamples
    ) -> SavedRecord | None:
        """Make a record at a cut from the record at the last of some earlier cuts, and save it.

        Raises:
            StorageError: There is no room.
        """
        for lower in earlier:
            found = self.find(lower, recording, first)
            if found is None:
                continue
            made = record_at_later_cut(lower, cut, found, self._store, self._dtype)
            if made is not None:
                self.derived_records += 1
                logger.info("The record at %s was made from that at %s.", cut.name, lower.name)
                self.save(cut, made)
                return made
        return None

    def save(self, cut: Cut, record: SavedRecord) -> None:
        """Write a record where later runs find it; warn if that is not possible."""
        try:
            write_record(self._folder_of(cut), record)
        except OSError as error:
            logger.warning("The record could not be kept: %s.", error)

    def _folder_of(self, cut: Cut) -> Path:
        mode = "train" if self._training else "validation"
        return self._folder / f"{cut.digest}-{self._dtype}-{mode}"

    def _has_values_of(self, cut: Cut, found: SavedRecord, first: FirstSamples) -> bool:
        """Whether the first samples have the saved values: layers may do more than their settings tell."""
        values = cut.prefix(keras.tree.map_structure(lambda t: t[:PROBED], first.x), self._training)
        rows, _ = found.index.find(first.fingerprints[:PROBED])
        return are_close(values, found.values.take(found.positions[rows])[0])
