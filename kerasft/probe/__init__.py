"""What a frozen backbone's features alone can do: the linear probe, solved and not trained."""

from kerasft.probe.batches import batches_of
from kerasft.probe.head import TO_FINE_TUNE, FrozenHead, Given, features_of, head_of, read_targets, solve_head
from kerasft.probe.linear import (
    LinearProbe,
    Link,
    fit_probe,
    held_out_scores,
    predictions,
    rightness,
    sample_losses,
)
from kerasft.probe.model_evidence import logme

__all__ = [
    "TO_FINE_TUNE",
    "FrozenHead",
    "Given",
    "LinearProbe",
    "Link",
    "batches_of",
    "features_of",
    "fit_probe",
    "head_of",
    "held_out_scores",
    "logme",
    "predictions",
    "read_targets",
    "rightness",
    "sample_losses",
    "solve_head",
]
