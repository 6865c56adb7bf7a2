"""What GradualUnfreezing saves with the optimizer: where a run stands, and what run it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class RunState:
    """A run between two epochs, or inside one.

    Attributes:
        epoch: How many epochs are over.
        inside_epoch: Whether another one has begun.
        clock: The `PhaseClock`, as a dict.
        rates: Learning-rate factors that were measured, by variable path; or None.
        random: States of the model's random generators.
        identity: What a run must have in common with this one to go on with it.
        best: Weights and slots of the phase's best epoch, by name.
    """

    epoch: int
    inside_epoch: bool
    clock: dict[str, Any]
    rates: dict[str, float] | None
    random: list[list[int]]
    identity: dict[str, Any]
    best: Mapping[str, np.ndarray]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The state as arrays by name, the names without a slash."""
        said = {name: value for name, value in asdict(self).items() if name != "best"}
        text = np.frombuffer(json.dumps(said, default=str).encode(), "uint8")
        return {"state": text, **{f"best.{name}": value for name, value in self.best.items()}}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> RunState | None:
        """The state that `to_arrays` wrote; None if there is none."""
        if "state" not in arrays:
            return None
        best = {name[5:]: value for name, value in arrays.items() if name.startswith("best.")}
        return cls(**json.loads(bytes(arrays["state"]).decode()), best=best)

    def check_identity(self, now: Mapping[str, Any]) -> None:
        """Raise unless a run with the identity `now` is the run that was saved.

        Raises:
            ValueError: Names what is different, and how.
        """
        now = json.loads(json.dumps(now, default=str))
        for what, value in now.items():
            then = self.identity.get(what)
            if then != value:
                raise ValueError(
                    f"The run that was saved had another {what.replace('_', ' ')}, so it can't be resumed. "
                    f"It had {_difference(then, value)}; now it is {_difference(value, then)}. Use what it "
                    "had, or begin without the backup."
                )


def _difference(one: Any, other: Any) -> str:
    """`one`, or, of two dicts, what it has that `other` has not."""
    if isinstance(one, dict) and isinstance(other, dict):
        one = {k: v for k, v in one.items() if k not in other or other[k] != v}
    return json.dumps(one)
