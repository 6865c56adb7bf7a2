"""Flags: the `trainable` flags of a model, set by depth, kept, compared and put back."""

from __future__ import annotations

from collections.abc import Iterable

import keras

from kerasft import _keras
from kerasft.stages import BatchNormPolicy, Stage, StageLayer, Stages, check_policy


class Flags:
    """The `trainable` flags of all layers and weights of a model, to be put back as they were.

    The policies of stage layers (those of a Hub backbone) for batch normalization belong to them.
    """

    def __init__(self, model: keras.Model) -> None:
        self._layers = [(layer, layer.trainable) for layer in _keras.sublayers(model)]
        self._policies = [(s, s.batch_norm) for s, _ in self._layers if isinstance(s, StageLayer)]
        self._variables = [(v, v.trainable) for v in model.variables]

    def restore(self) -> None:
        """Put every flag back. Parents come first: setting theirs overwrites their children's."""
        for layer, flag in self._layers:
            layer.trainable = flag
        for stage, policy in self._policies:
            stage.batch_norm = policy
        for variable, flag in self._variables:
            variable.trainable = flag

    def changed(self) -> list[str]:
        """List what has changed since: `"layer 'name'"` for a layer, the path for a weight."""
        differ = [layer for layer, flag in self._layers if layer.trainable != flag]
        differ += [stage for stage, policy in self._policies if stage.batch_norm != policy]
        names = list(dict.fromkeys(f"layer {layer.name!r}" for layer in differ))
        return names + [v.path for v, flag in self._variables if v.trainable != flag]


def check_batch_norm(policy: BatchNormPolicy | None, stages: Iterable[Stage] = ()) -> None:
    """Check a policy for BatchNormalization before it is used.

    Args:
        policy: As in `freeze`; None is allowed.
        stages: The stages that will train with it.

    Raises:
        ValueError: `policy` is none of the three, or a Hub stage among `stages` can't follow it.
    """
    if policy is None:
        return
    check_policy(policy)
    for stage in stages:
        for layer in stage.layers:
            if isinstance(layer, StageLayer):
                layer.check_batch_norm(policy)


def set_depth(stages: Stages, depth: int, batch_norm: BatchNormPolicy | None = None) -> None:
    """Set the flags as `freeze` does, but leave the training function of a compiled model as it is.

    Args:
        stages: The stages of the model.
        depth: How many of them to freeze.
        batch_norm: As in `freeze`.

    Raises:
        ValueError: As in `freeze`; then no flag has changed.
    """
    check_batch_norm(batch_norm, stages[depth:])
    _check_freezable(stages[:depth])
    holders = {id(layer) for stage in stages for layer in stage.layers}
    others = [s for s in _keras.sublayers(stages.model) if id(s) not in holders]
    flags = [(layer, layer.trainable) for layer in others]
    # A model that is switched off as a whole hides its layers' flags, and a parent's flag overwrites its
    # children's: so containers first, then what they had for layers without weights, then the stages.
    for layer in others:
        if layer.weights:
            layer.trainable = True
    for layer, flag in flags:
        if not layer.weights:
            layer.trainable = flag
    for index, stage in enumerate(stages):
        for layer in stage.layers:
            layer.trainable = index >= depth
            if not isinstance(layer, StageLayer):  # a stage layer manages its own weights
                for variable in _keras.own_trainable_variables(layer):
                    variable.trainable = index >= depth  # Keras sees only changes of the layer's own flag
            _set_policy(layer, batch_norm if index >= depth else None)


def _set_policy(layer: keras.Layer, policy: BatchNormPolicy | None) -> None:
    if isinstance(layer, StageLayer):
        layer.batch_norm = policy
    elif isinstance(layer, keras.layers.BatchNormalization) and policy == "inference":
        layer.trainable = False  # the layer's flag chooses its statistics, its weights' flags their training
        for variable in _keras.own_trainable_variables(layer):
            variable.trainable = True
    elif isinstance(layer, keras.layers.BatchNormalization) and policy == "statistics":
        for variable in (layer.gamma, layer.beta):
            if variable is not None:
                variable.trainable = False


def changes_in_training(stage: Stage) -> bool:
    """Whether training changes a stage: a weight trains, or moving statistics adapt."""
    return stage.trainable or any(
        layer.updates_itself if isinstance(layer, StageLayer) else layer.trainable
        for layer in stage.layers
        if isinstance(layer, keras.layers.BatchNormalization | StageLayer)
    )


def _check_freezable(stages: Iterable[Stage]) -> None:
    for stage in stages:
        for layer in stage.layers:
            if isinstance(layer, keras.layers.SpectralNormalization):
                raise ValueError(
                    f"The stage {stage.name!r} can't be frozen: its layer {layer.name!r} is a "
                    "SpectralNormalization, which rewrites its kernel in every training step, whatever its "
                    "flags say. Let the stage train, or build the model with the wrapped layer instead."
                )
