"""Freeze and thaw a model by depth, leaf by leaf, with one policy for BatchNormalization."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

import keras

from kerasft import trainer
from kerasft.stages import Stages, find_stages

BatchNormPolicy = Literal["train", "inference"]


def freeze(model: keras.Model | Stages, depth: int | str, batch_norm: BatchNormPolicy = "train") -> Stages:
    """Freeze the stages below `depth` and let all others train.

    Frozen weights do not change in training, moving statistics of BatchNormalization included. A model
    that has been compiled and fitted sees the change at its next step: its training function is traced
    anew and its optimizer keeps its state, so there is no need to compile again. (Call this on the model
    that is fitted: a model cannot see that a part of it was frozen through that part alone.)

    Args:
        model: A built model, or its `Stages` (needed for subclassed models).
        depth: How many stages to freeze, from the input on, or the name of the first that trains.
        batch_norm: What BatchNormalization does in stages that train. "train": as the model calls it, with
            batch statistics. "inference": its scale and offset train, its statistics stay. Hub stages
            have a policy of their own (`load_backbone`'s `batch_norm`).

    Returns:
        The stages of the model.

    Raises:
        TypeError, ValueError: `depth` is not a depth of this model, or the model can't be divided.

    Example:
        >>> net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, name="body"),
        ...                         keras.layers.Dense(2, name="top")], name="net")
        >>> stages = freeze(net, "top")
        >>> [variable.path for variable in net.trainable_variables]
        ['net/top/kernel', 'net/top/bias']

    References:
        Howard & Ruder (2018), arXiv:1801.06146, section 3.3.
    """
    stages = find_stages(model)
    set_depth(stages, stages.depth(depth), batch_norm)
    trainer.follow_flags(stages.model)
    return stages


def unfreeze(model: keras.Model | Stages, batch_norm: BatchNormPolicy = "train") -> Stages:
    """Let every stage train: `freeze` at depth 0."""
    return freeze(model, 0, batch_norm)


def freeze_depth(model: keras.Model | Stages) -> int:
    """How many stages, from the input on, are frozen: what `freeze` was given last.

    Args:
        model: A built model, or its `Stages`.

    Returns:
        0 if the first stage trains, the number of stages if nothing does.
    """
    stages = find_stages(model)
    if not stages.model.trainable:
        return len(stages)
    return next((i for i, stage in enumerate(stages) if stage.trainable), len(stages))


@contextlib.contextmanager
def frozen(
    model: keras.Model | Stages, depth: int | str, batch_norm: BatchNormPolicy = "train"
) -> Iterator[Stages]:
    """Freeze up to `depth` inside a `with` block; afterwards every flag is what it was before.

    Args:
        model: A built model, or its `Stages`.
        depth: As in `freeze`.
        batch_norm: As in `freeze`.

    Yields:
        The stages.
    """
    stages = find_stages(model)
    flags = Flags(stages.model)
    try:
        yield freeze(stages, depth, batch_norm)
    finally:
        flags.restore()
        trainer.follow_flags(stages.model)


class Flags:
    """The `trainable` flags of all layers and weights of a model, to be put back as they were."""

    def __init__(self, model: keras.Model) -> None:
        self._layers = [(layer, layer.trainable) for layer in trainer.sublayers(model)]
        self._variables = [(v, v.trainable) for v in model.variables]

    def restore(self) -> None:
        """Put every flag back. Parents come first: setting theirs overwrites their children's."""
        for layer, flag in self._layers:
            layer.trainable = flag
        for variable, flag in self._variables:
            variable.trainable = flag

    def changed(self) -> list[str]:
        """Paths of the weights whose flags differ from what they were."""
        return [v.path for v, flag in self._variables if v.trainable != flag]


def set_depth(stages: Stages, depth: int, batch_norm: BatchNormPolicy = "train") -> None:
    """Set the flags alone; what `freeze` does, without telling the compiled model."""
    if batch_norm not in ("train", "inference"):
        raise ValueError(f'batch_norm is "train" or "inference", not {batch_norm!r}.')
    holders = {id(layer) for stage in stages for layer in stage.layers}
    others = [s for s in trainer.sublayers(stages.model) if id(s) not in holders]
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
            if layer.trainable and batch_norm == "inference":
                _keep_statistics(layer)


def _keep_statistics(layer: keras.Layer) -> None:
    if isinstance(layer, keras.layers.BatchNormalization):
        layer.trainable = False  # the layer's flag chooses its statistics, its weights' flags their training
        for variable in (layer.gamma, layer.beta):
            if variable is not None:
                variable.trainable = True
