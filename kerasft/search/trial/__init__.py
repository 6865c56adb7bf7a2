"""One trial of a search: what keras-tuner knows of it, how it trains, what is watched and saved."""

from kerasft.search.trial.checkpoint import (
    weight_fingerprints,
    with_checkpoint_loading,
    without_checkpoint_loading,
)
from kerasft.search.trial.context import (
    TrialContext,
)
from kerasft.search.trial.training import (
    TrialTraining,
)

__all__ = [
    "TrialContext",
    "TrialTraining",
    "weight_fingerprints",
    "with_checkpoint_loading",
    "without_checkpoint_loading",
]
