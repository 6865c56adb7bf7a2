"""What a cached step function needs to know, once and before each trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasft.cache.cuts import (
    Cut,
    Prefix,
)


@dataclass(frozen=True)
class StepSettings:
    """What a `Source` needs to know once.

    Attributes:
        training: Whether it trains the model, rather than testing it.
        dtype: Of recorded floats: "float32" for what was computed, or "float16".
        verify: Whether the source is compared with the record.
        views: How many epochs are recorded, to be used in turn.
        seed: For permutations.
        folder: Where records are kept for later runs; None keeps none.
        trusted: Whether the source is known to be the one that a kept record was made from, so that training
            can begin with the record at once.
    """

    training: bool
    dtype: str
    verify: bool
    views: int
    seed: int
    folder: Path | None
    trusted: bool = False


@dataclass(frozen=True)
class StepPlan:
    """What a `Source` needs to know before a step is traced.

    Attributes:
        cuts: Finds the cuts, as in `trace_prefix`.
        nondeterministic: Calls that are known not to be deterministic.
        traced: Prefixes that were traced before.
        repeats: Whether the data are the same in each epoch for certain.
        ordered: Whether they come in the same order for certain.
        ahead: Whether several steps may be taken before the first of them is reported.
        first_epoch: Where `fit` began.
        steps: How many steps Keras expects of one call.
        below: Finds the cuts before the one in force at which there may be a record, the last one first.
    """

    cuts: Callable[[Any], list[Cut]]
    nondeterministic: set[int]
    traced: list[Prefix]
    repeats: bool
    ordered: bool
    ahead: bool
    first_epoch: int
    steps: int
    below: Callable[[], Iterator[Cut]] = lambda: iter(())
