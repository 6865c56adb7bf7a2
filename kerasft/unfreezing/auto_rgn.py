"""Auto-RGN: learning-rate factors of variables, from the gradients of an epoch."""

from __future__ import annotations

from collections.abc import Mapping

import keras

from kerasft import _keras
from kerasft.learning_rates import Multipliers, relative_gradient_norms
from kerasft.stages import Stage, Stages

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
    factors, keys = base or {}, _keys(stages)
    ratios = relative_gradient_norms(stages, norms)
    return {
        keys[id(v)]: factors.get(keys[id(v)], 1.0) * max(ratio, _LEAST)
        for stage, ratio in zip(stages, ratios, strict=True)
        for v in _trained(stage)
    }


def with_own_paths(stages: Stages, factors: Mapping[str, float] | None) -> dict[str, float] | None:
    """The factors that `measured_factors` returned for the model before it was built again, by its paths now.

    Args:
        stages: The stages of the model, those set to train that trained then.
        factors: The factors, in their order; None if none were measured.
    """
    if factors is None:
        return None
    keys = _keys(stages)
    paths = [keys[id(v)] for stage in stages for v in _trained(stage)]
    if set(paths) == set(factors) or len(paths) != len(factors):
        return dict(factors)
    return dict(zip(paths, factors.values(), strict=True))


def with_variables(stages: Stages, factors: Mapping[str, float]) -> Multipliers:
    """The factors that `measured_factors` returned, which know their variables."""
    keys = _keys(stages)
    trained = {keys[id(v)]: v for stage in stages for v in _trained(stage)}
    known = [key for key in trained if key in factors]
    own = {key: factors[key] for key in known}
    return Multipliers({**own, **factors}, [trained[key] for key in known])


def _keys(stages: Stages) -> dict[int, str]:
    """The key of each variable that can train, as in `resolve_multipliers`."""
    can = {id(v) for s in stages for layer in s.layers for v in _keras.own_trainable_variables(layer)}
    variables = [v for v in stages.model.variables if id(v) in can]
    return {id(v): key for v, key in zip(variables, _keras.numbered_paths(variables), strict=True)}


def _trained(stage: Stage) -> list[keras.Variable]:
    """The weights of a stage that can train, if it is set to train."""
    if not stage.trainable:
        return []
    return [v for layer in stage.layers for v in _keras.own_trainable_variables(layer)]
