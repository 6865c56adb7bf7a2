"""What a cached step function is told: once, and before each trace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kerasft.cache.cut_plan import FitCuts


@dataclass(frozen=True)
class StepSettings:
    """What does not change while a `fit` runs.

    Attributes:
        training: Whether steps train the model, rather than test it.
        dtype: Of recorded floats: "float32" for what was computed, or "float16".
        verify: Whether the source is compared with the record.
        views: How many epochs are recorded, to be used in turn.
        seed: For permutations.
        folder: Where records are kept for later runs; None keeps none.
        known_data: The name of the set of samples that the source is known to have, so that training can
            begin at once with a saved record of that set; None if it is not known.
    """

    training: bool
    dtype: str
    verify: bool
    views: int
    seed: int
    folder: Path | None
    known_data: str | None = None


@dataclass(frozen=True)
class StepPlan:
    """What has to be known before a step is traced.

    Attributes:
        cuts: Finds the cuts.
        repeats: Whether the data are the same in each epoch for certain.
        ordered: Whether they come in the same order for certain.
        goes_on: Whether an epoch begins in the data where the one before it has stopped reading.
        ahead: Whether several steps may be taken before the first of them is reported.
        steps: How many steps Keras expects of one call.
    """

    cuts: FitCuts
    repeats: bool
    ordered: bool
    goes_on: bool
    ahead: bool
    steps: int
