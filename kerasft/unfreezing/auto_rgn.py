"""Auto-RGN: learning-rate factors of variables, from the gradients of an epoch."""

from __future__ import annotations

from collections.abc import Mapping

from kerasft import _keras
from kerasft.learning_rates import relative_gradient_norms
from kerasft.stages import Stages

_LEAST = 1e-12  # a factor of 0 would mean: leave out, and trace again


def measured_factors(
    stages: Stages, norms: dict[int, float], base: Mapping[str, float] | None
) -> dict[str, float]:
    """Multiply the factor of each variable that trains by its stage's relative gradient norm.

    Args:
        stages: The stages of the model.
        norms: Norm of the gradient by `id` of the variable.
        base: Factors of the phase by variable path; 1 for those that are missing.

    Returns:
        A factor for each variable of a stage that trains, by path.
    """
    factors = base or {}
    return {
        v.path: factors.get(v.path, 1.0) * max(ratio, _LEAST)
        for stage, ratio in zip(stages, relative_gradient_norms(stages, norms), strict=True)
        if stage.trainable
        for layer in stage.layers
        for v in _keras.own_trainable_variables(layer)
    }
