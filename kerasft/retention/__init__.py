"""How much of the pre-trained model is left after fine-tuning, and what keeps it.

Fine-tuning on a few images of new classes overwrites what the model knew of the old ones. This folder
measures how much is left, and holds what is known to help: decay towards the pre-trained weights, the
average of both models' weights, the pre-trained model as a teacher, a few of the old images in each batch.
Each works in a plain `fit`. Which weights both models have is found by `pairing.py` for all of them.
"""

from kerasft.retention.callback import (
    Retention,
)
from kerasft.retention.distillation import (
    DistillationLoss,
    with_original_head,
    with_original_scores,
)
from kerasft.retention.fresh_stages import (
    reinitialize,
)
from kerasft.retention.interpolation import (
    InterpolationSweep,
    interpolate,
    interpolation_sweep,
)
from kerasft.retention.l2_sp import (
    with_l2_sp,
)
from kerasft.retention.source_samples import (
    replay,
)

__all__ = [
    "DistillationLoss",
    "InterpolationSweep",
    "Retention",
    "interpolate",
    "interpolation_sweep",
    "reinitialize",
    "replay",
    "with_l2_sp",
    "with_original_head",
    "with_original_scores",
]
