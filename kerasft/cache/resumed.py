"""Resumed: what a run that goes on needs to know of the cache of the run that was interrupted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Resumed:
    """What decided the order of the data in a run that was interrupted.

    Attributes:
        seed: For permutations.
        epochs: The epochs in which the source was watched, by which the order of later ones was settled; None
            if that is not known: then all of them until it is settled.
        given: How many batches the source gave in epochs that came from the record; in others, all of them.
        recorded: The positions of the cuts of which it had values, with the epoch since which they were
            recorded, 0 if none was missing; None if that is not known.
        off: Why the cache was off for the rest of the fit; None if it was not.
    """

    seed: int
    epochs: Sequence[int] | None = None
    given: Mapping[int, int] = field(default_factory=dict)
    recorded: Mapping[int, int] | None = None
    off: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Write it as plain values, for JSON."""
        recorded = None if self.recorded is None else list(self.recorded.items())
        return {**asdict(self), "given": list(self.given.items()), "recorded": recorded}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Resumed:
        """Read what `to_dict` returned."""
        recorded = None if stored["recorded"] is None else dict(stored["recorded"])
        return cls(**{**stored, "given": dict(stored["given"]), "recorded": recorded})
