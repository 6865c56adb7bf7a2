"""Flags: the `trainable` flags of a model, set by depth, kept, compared and put back."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import keras

from kerasft import _keras
from kerasft.freezing.belonging import frozen_part
from kerasft.freezing.keep_frozen import kept_frozen
from kerasft.stages import (
    BatchNormPolicy,
    DropoutPolicy,
    KeptFrozen,
    SeenFlags,
    Stage,
    StageLayer,
    Stages,
    UserFlags,
    check_dropout_policy,
    check_policy,
    record,
    recorded,
)

Signature = tuple[Any, ...]
_depths: weakref.WeakKeyDictionary[keras.Model, tuple[int, Signature]] = weakref.WeakKeyDictionary()


class Flags:
    """The `trainable` flags of all layers and weights of a model, to be put back as they were.

    The policies for batch normalization and for dropout belong to them, and so does what was recorded of the
    user's own flags.
    """

    def __init__(self, model: keras.Model) -> None:
        self._layers = [(layer, layer.trainable) for layer in _keras.sublayers(model)]
        stage_layers = [s for s, _ in self._layers if isinstance(s, StageLayer)]
        self._policies = [(s, s.batch_norm, s.dropout) for s in stage_layers]
        self._modes = [(layer, _keras.training_mode(layer)) for layer, _ in self._layers]
        self._variables = [(v, v.trainable) for v in model.variables]
        self._recorded = [(layer, recorded(layer)) for layer, _ in self._layers]
        self._depth = model, _depths.get(model)

    def restore(self) -> None:
        """Put every flag back. Parents come first: setting theirs overwrites their children's."""
        for layer, flag in self._layers:
            layer.trainable = flag
        for stage, batch_norm, dropout in self._policies:
            stage.batch_norm, stage.dropout = batch_norm, dropout
        for layer, mode in self._modes:
            _keras.set_training_mode(layer, mode)
        for variable, flag in self._variables:
            variable.trainable = flag
        for layer, user in self._recorded:
            record(layer, user)
        model, depth = self._depth
        if depth is None:
            _depths.pop(model, None)
        else:
            _depths[model] = depth

    def changed(self) -> list[str]:
        """List what has changed since: `"layer 'name'"` for a layer, the path for a weight."""
        differ = [layer for layer, flag in self._layers if layer.trainable != flag]
        differ += [s for s, *policies in self._policies if policies != [s.batch_norm, s.dropout]]
        differ += [layer for layer, mode in self._modes if _keras.training_mode(layer) != mode]
        names = list(dict.fromkeys(f"layer {layer.name!r}" for layer in differ))
        return names + [v.path for v, flag in self._variables if v.trainable != flag]


def check_batch_norm(policy: BatchNormPolicy | None, stages: Iterable[Stage] = ()) -> None:
    """Check a policy for BatchNormalization before it is used.

    Args:
        policy: As in `freeze`; None is allowed.
        stages: The stages that will train with it.

    Raises:
        ValueError: `policy` is none of the four, or a Hub stage among `stages` can't follow it.
    """
    if policy is None:
        return
    check_policy(policy)
    for stage in stages:
        for layer in stage.layers:
            if isinstance(layer, StageLayer):
                layer.check_batch_norm(policy)


def check_dropout(policy: DropoutPolicy | None, stages: Iterable[Stage] = ()) -> None:
    """Check a policy for the random numbers of frozen layers before it is used.

    Args:
        policy: As in `freeze`.
        stages: The stages that will be frozen with it.

    Raises:
        ValueError: `policy` is none, or a Hub stage among `stages` can't follow it.
    """
    check_dropout_policy(policy)
    for layer in (layer for stage in stages for layer in stage.layers):
        if isinstance(layer, StageLayer):
            layer.check_dropout(policy)


def dropout_policy(stages: Stages) -> DropoutPolicy | None:
    """The policy for the random numbers of frozen layers in force; None if nothing is frozen by one."""
    modes = (_keras.training_mode(layer) for stage in stages for layer in stage.layers)
    return next((mode for mode in modes if mode is not None), None)


def set_depth(
    stages: Stages,
    depth: int,
    batch_norm: BatchNormPolicy | None = None,
    dropout: DropoutPolicy | None = None,
) -> None:
    """Set the flags as `freeze` does, but leave the training function of a compiled model as it is.

    What the user froze, or named in `declare_kept`, stays frozen.

    Args:
        stages: The stages of the model.
        depth: How many of them to freeze.
        batch_norm: As in `freeze`.
        dropout: As in `freeze`.

    Raises:
        ValueError: As in `freeze`; then no flag has changed.
    """
    check_batch_norm(batch_norm, stages[depth:])
    kept = kept_frozen(stages)
    frozen = [i < depth or not kept.trains(i) for i in range(len(stages))]
    check_dropout(dropout, [stage for stage, is_frozen in zip(stages, frozen, strict=True) if is_frozen])
    _check_freezable(stages, depth, kept)
    place = {id(layer): index for index, stage in enumerate(stages) for layer in stage.layers}
    layers = list(_keras.sublayers(stages.model))
    # all is read before anything is set, for a parent's flag overwrites those of its children
    flags = [kept.flag_of(layer) for layer in layers]
    known: list[UserFlags] = []
    wanted = [kept.wanted(layer) if id(layer) in place else UserFlags.of(layer) for layer in layers]
    for layer, flag, user in zip(layers, flags, wanted, strict=True):
        index = place.get(id(layer))
        if index is None:
            layer.trainable = layer is stages.model or flag
            user = replace(user, is_off=user.is_off and not layer.trainable)
        else:
            _set_flags(layer, index >= depth and not kept.keeps(layer), user, batch_norm)
            if index >= depth and kept.is_in_prefix(layer):  # from now on the depth speaks for it
                user = replace(user, flag=True, is_off=False)
            user = replace(user, is_kept=kept.is_kept_by_flags(layer))
        known.append(user)
    still = [x for x in layers if id(x) in place and (place[id(x)] < depth or kept.keeps(x))]
    for variable in (v for layer in still for v in _keras.own_trainable_variables(layer)):
        variable.trainable = False  # also where a layer that trains holds it as well
    for layer, user in zip(layers, known, strict=True):
        record(layer, replace(user, seen=SeenFlags.of(layer)))
    _set_dropout(stages, frozen, dropout)
    _depths[stages.model] = depth, _signature(stages)


def depth_set_last(stages: Stages) -> int | None:
    """The depth that `set_depth` was given last; None if flags have changed since."""
    known = _depths.get(stages.model)
    return None if known is None or known[1] != _signature(stages) else known[0]


def _signature(stages: Stages) -> Signature:
    """All flags of the stages, those of the model itself first."""
    seen = ((SeenFlags.of(layer) for layer in stage.layers) for stage in stages)
    return (
        bool(stages.model.trainable),
        *(tuple((s.layer, *(flag for _, flag in s.weights)) for s in stage) for stage in seen),
    )


def _set_flags(layer: keras.Layer, trains: bool, user: UserFlags, policy: BatchNormPolicy | None) -> None:
    layer.trainable = trains and user.flag_when_thawed
    _set_policy(layer, trains, policy if trains else None)
    for variable in user.untrained:
        variable.trainable = False


def _set_policy(layer: keras.Layer, trains: bool, policy: BatchNormPolicy | None) -> None:
    if isinstance(layer, StageLayer):
        layer.batch_norm = policy
        layer.set_weight_flags()  # Keras drops an attribute's value that it has already
        return
    for variable in _keras.own_trainable_variables(layer):
        variable.trainable = trains  # Keras sees only changes of the layer's own flag
    if isinstance(layer, keras.layers.BatchNormalization) and policy == "inference":
        layer.trainable = False  # the layer's flag chooses its statistics, its weights' flags their training
        for variable in _keras.own_trainable_variables(layer):
            variable.trainable = True
    elif isinstance(layer, keras.layers.BatchNormalization) and policy == "frozen":
        layer.trainable = False
    elif isinstance(layer, keras.layers.BatchNormalization) and policy == "statistics":
        for variable in (layer.gamma, layer.beta):
            if variable is not None:
                variable.trainable = False


def _set_dropout(stages: Stages, frozen: Sequence[bool], policy: DropoutPolicy | None) -> None:
    inside = [x for stage, is_frozen in zip(stages, frozen, strict=True) if is_frozen for x in stage.layers]
    for layer in _keras.sublayers(stages.model):
        _keras.set_training_mode(layer, None)
    for stage in stages:
        for layer in stage.layers:
            if isinstance(layer, StageLayer):
                layer.dropout = None
    for layer in [] if policy is None else frozen_part(stages.model, inside):
        _keras.set_training_mode(layer, policy)
    for layer in inside:
        if isinstance(layer, StageLayer):
            layer.dropout = policy


def changes_in_training(stage: Stage) -> bool:
    """Whether training changes a stage: a weight trains, or moving statistics adapt."""
    return stage.trainable or any(
        layer.updates_itself if isinstance(layer, StageLayer) else layer.trainable
        for layer in stage.layers
        if isinstance(layer, keras.layers.BatchNormalization | StageLayer)
    )


def _check_freezable(stages: Stages, depth: int, kept: KeptFrozen) -> None:
    for index, stage in enumerate(stages):
        for layer in stage.layers:
            stays = index < depth or kept.keeps(layer)
            if stays and isinstance(layer, keras.layers.SpectralNormalization):
                raise ValueError(
                    f"The stage {stage.name!r} can't be frozen: its layer {layer.name!r} is a "
                    "SpectralNormalization, which rewrites its kernel in every training step, whatever its "
                    "flags say. Let the stage train, or build the model with the wrapped layer instead."
                )
