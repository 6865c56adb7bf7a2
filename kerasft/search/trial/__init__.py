"""One trial of a search: what keras-tuner says of it, how it trains, what is watched and saved."""

from kerasft.search.trial.checkpoint import (
    as_it_was,
    fingerprints,
    loading_checkpoints,
)
from kerasft.search.trial.context import (
    TrialRun,
)
from kerasft.search.trial.training import (
    TrialTraining,
)

__all__ = [
    "TrialRun",
    "TrialTraining",
    "as_it_was",
    "fingerprints",
    "loading_checkpoints",
]
