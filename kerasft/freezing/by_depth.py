"""Freeze and thaw a model by depth, leaf by leaf, with one policy for BatchNormalization."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras

from kerasft import _keras
from kerasft.freezing.flags import Flags, changes_in_training, set_depth
from kerasft.stages import BatchNormPolicy, Stages, find_stages


def freeze(
    model: keras.Model | Stages, depth: int | str, batch_norm: BatchNormPolicy | None = None
) -> Stages:
    """Freeze the stages below `depth` and let all others train.

    Frozen weights do not change in training, moving statistics of BatchNormalization included. A model
    that has been compiled and fitted sees the change at its next step: its training function is traced
    again and its optimizer keeps its state, so there is no need to compile again. (Call this on the model
    that is fitted: a model cannot see that a part of it was frozen through that part alone.)

    Args:
        model: A built model, or its `Stages` (needed for subclassed models).
        depth: How many stages to freeze, from the input on, or the name of the first that trains, or the name
            or path (`student/body`) of the layer that starts it.
        batch_norm: What BatchNormalization does in stages that train; in frozen ones it always uses its
            moving statistics, and nothing moves.

            - "train": it uses batch statistics; moving statistics adapt, scale and offset train.
            - "inference": it uses its moving statistics, which stay; scale and offset train.
            - "statistics": it uses batch statistics; moving statistics adapt, scale and offset stay.
            - None: "train" for Keras layers; for Hub stages the policy given to `load_backbone`.

            In a Hub stage "inference" turns dropout off as well.

    Returns:
        The stages of the model.

    Raises:
        TypeError, ValueError: `depth` is not a depth of this model, the model can't be divided, a Hub
            stage can't follow `batch_norm`, or a layer can't be frozen: SpectralNormalization rewrites
            its kernel whatever its flags say.

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
    _keras.apply_trainable_flags(stages.model)
    return stages


def unfreeze(model: keras.Model | Stages, batch_norm: BatchNormPolicy | None = None) -> Stages:
    """Let every stage train: `freeze` at depth 0.

    Args:
        model: A built model, or its `Stages`.
        batch_norm: As in `freeze`.

    Returns:
        The stages of the model.
    """
    return freeze(model, 0, batch_norm)


def freeze_depth(model: keras.Model | Stages) -> int:
    """Count the stages, from the input on, that are frozen: the depth that `freeze` was given last.

    Args:
        model: A built model, or its `Stages`.

    Returns:
        0 if the first stage trains, the number of stages if nothing does.
    """
    stages = find_stages(model)
    if not stages.model.trainable:
        return len(stages)
    return next((i for i, stage in enumerate(stages) if changes_in_training(stage)), len(stages))


@contextlib.contextmanager
def frozen(
    model: keras.Model | Stages, depth: int | str, batch_norm: BatchNormPolicy | None = None
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
        _keras.apply_trainable_flags(stages.model)
