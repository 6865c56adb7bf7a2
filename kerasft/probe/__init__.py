"""What a frozen backbone's features alone can do: the linear probe, solved and not trained."""

from kerasft.probe.head import features_of, head_of, solve_head
from kerasft.probe.linear import LinearProbe, Link, fit_probe, predictions, sample_losses
from kerasft.probe.logme import logme

__all__ = [
    "LinearProbe",
    "Link",
    "features_of",
    "fit_probe",
    "head_of",
    "logme",
    "predictions",
    "sample_losses",
    "solve_head",
]
