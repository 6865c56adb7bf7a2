"""Auto-RGN: learning-rate factors from relative gradient norms."""

from __future__ import annotations

import numpy as np

from kerasft import _keras
from kerasft.stages import Stages


def relative_gradient_norms(stages: Stages, norms: dict[int, float]) -> list[float]:
    """Auto-RGN: the relative gradient norm of each stage, divided by the largest of them.

    Args:
        stages: The stages of a model.
        norms: Norm of the gradient by `id` of the variable; frozen ones have none, or 0.

    Returns:
        A factor from 0 to 1 for each stage: `(‖g‖ / ‖w‖) / max(‖g‖ / ‖w‖)`, where `w` are the stage's
        weights that train.

    References:
        Lee et al. (2023), Surgical Fine-Tuning, arXiv:2210.11466, section 4.
    """
    ratios = []
    for stage in stages:
        variables = [
            v for layer in stage.layers for v in _keras.own_trainable_variables(layer) if v.trainable
        ]
        gradient = np.sqrt(sum(norms.get(id(v), 0.0) ** 2 for v in variables))
        weight = np.sqrt(sum(float(np.sum(v.numpy().astype("float64") ** 2)) for v in variables))
        ratios.append(float(gradient / weight) if weight else 0.0)
    largest = max(ratios, default=0.0)
    return [ratio / largest if largest > 0 else 1.0 for ratio in ratios]
