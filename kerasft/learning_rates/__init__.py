"""A learning rate of its own for each layer, and a test that finds the base rate.

Factors are resolved against a model here; the step itself is taken by `kerasft._keras.optimizer`.
"""

from kerasft.learning_rates.finder import (
    LearningRateCurve,
    find_learning_rate,
)
from kerasft.learning_rates.gradient_norms import (
    relative_gradient_norms,
)
from kerasft.learning_rates.multipliers import (
    Multipliers,
    discriminative,
    layerwise_decay,
    resolve_multipliers,
    with_lr_multipliers,
)

__all__ = [
    "LearningRateCurve",
    "Multipliers",
    "discriminative",
    "find_learning_rate",
    "layerwise_decay",
    "relative_gradient_norms",
    "resolve_multipliers",
    "with_lr_multipliers",
]
