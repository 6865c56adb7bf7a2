"""RecordLibrary: records that stay in a folder, for later runs with the same data and frozen weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasft.cache.cuts import Cut, value_places
from kerasft.cache.later_cut import record_at_later_cut
from kerasft.cache.records import SavedRecord, Storage, read_records, write_record
from kerasft.cache.samples import are_close

logger = logging.getLogger(__name__)

PROBED = 4  # samples of a saved record that are computed again


@dataclass(frozen=True, eq=False)
class FirstSamples:
    """The first batch of a source, by which a saved record is known.

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

    def find(self, cut: Cut, first: FirstSamples, digest: str | None = None) -> SavedRecord | None:
        """Find a record at a cut: the newest with all of the first samples, or else with most of them.

        Args:
            cut: The cut.
            first: The first samples of the source; those in the record must have the values that the frozen
                layers give now.
            digest: The name of a set of samples: the record must have these and no others.
        """
        best, most = None, 0
        for path, found in read_records(self._folder_of(cut)):
            count = int((found.index.known(first.fingerprints) >= 0).sum())
            if count <= most or digest not in (None, found.index.digest()):
                continue
            if not self._has_values_of(cut, found, first):
                logger.warning("The record in %s is of other layers; it is not used.", path)
                continue
            logger.info("Using the record kept in %s.", path)
            best, most = found, count
            if count == len(first.fingerprints):
                break
        return best

    def derive(
        self, cut: Cut, earlier: Sequence[Cut], find: Callable[[Cut], SavedRecord | None]
    ) -> SavedRecord | None:
        """Make a record at a cut from the record at the last of some earlier cuts, and save it.

        Args:
            cut: The cut.
            earlier: The earlier cuts, the last one first.
            find: Finds a record at a cut.

        Raises:
            StorageError: There is no room.
        """
        for lower in earlier:
            found = find(lower)
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
        rows = found.index.known(first.fingerprints)
        known = np.flatnonzero(rows >= 0)[:PROBED]
        values = cut.prefix(keras.tree.map_structure(lambda t: tf.gather(t, known), first.x), self._training)
        saved = found.values.take(found.positions[rows[known]])
        places = value_places(found.masked)
        return len(places) == len(values) and all(
            are_close(value, saved[place]) for value, place in zip(values, places, strict=True)
        )
