"""One trial of a search: what keras-tuner says of it, how it trains, what is watched and saved."""

from kerasft.search.trial.checkpoint import (
    fingerprints,
    with_checkpoint_loading,
    without_checkpoint_loading,
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
    "without_checkpoint_loading",
    "fingerprints",
    "with_checkpoint_loading",
]
