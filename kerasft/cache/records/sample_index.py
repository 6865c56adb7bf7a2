"""The rows of samples, by their fingerprints."""

from __future__ import annotations

import hashlib

import numpy as np

from kerasft.typing import Rows


class SampleIndex:
    """Rows by the fingerprints of their samples."""

    def __init__(self) -> None:
        self._rows: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, fingerprint: int) -> bool:
        return int(fingerprint) in self._rows

    def find(self, fingerprints: np.ndarray) -> tuple[Rows, np.ndarray]:
        """The row of each sample, new ones numbered on; and which are new (a repeated one is new once)."""
        rows, new = np.empty(len(fingerprints), np.int64), np.zeros(len(fingerprints), bool)
        for i, fingerprint in enumerate(fingerprints.tolist()):
            row = self._rows.get(fingerprint)
            if row is None:
                row, new[i] = len(self._rows), True
                self._rows[fingerprint] = row
            rows[i] = row
        return rows, new

    def known(self, fingerprints: np.ndarray) -> Rows:
        """The row of each sample, -1 for those that are not known; none is added."""
        return np.array([self._rows.get(f, -1) for f in fingerprints.tolist()], np.int64)

    def fingerprints(self) -> np.ndarray:
        """The fingerprints of all rows, in order."""
        return np.fromiter(self._rows, np.uint64, len(self._rows))

    def digest(self) -> str:
        """A name for the set of samples, whatever their order."""
        return hashlib.blake2b(np.sort(self.fingerprints()).tobytes(), digest_size=8).hexdigest()
