"""Freeze and thaw a model by depth, leaf by leaf, with one policy for BatchNormalization."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import keras

from kerasft import _keras
from kerasft.freezing.flags import (
    Flags,
    changes_in_training,
    check_batch_norm,
    check_dropout,
    depth_set_last,
    set_depth,
)
from kerasft.freezing.keep_frozen import declare_kept, log_kept
from kerasft.stages import BatchNormPolicy, DropoutPolicy, Stages, find_stages


def freeze(
    model: keras.Model | Stages,
    depth: int | str,
    batch_norm: BatchNormPolicy | None = None,
    *,
    dropout: DropoutPolicy | None = None,
    keep_frozen: Sequence[str] = (),
    everything: bool = False,
) -> Stages:
    """Freeze the stages below `depth` and let all others train, but for what you have frozen yourself.

    What you froze before kerasft first set a flag of the model, or have changed by hand since, stays frozen
    at every depth where it can't be a freeze depth:

    - single weights that are off in a layer that is on, and the weights that LoRA adapts
      (`layer.enable_lora`);
    - layers that are off in the first stage that is on, or after it: a table of positions beside a token
      embedding, BatchNormalization layers, a teacher.

    Layers that are off before the first stage that is on (`backbone.trainable = False`, or the same in a
    loop over its layers) are a freeze depth like any other, so a lower depth thaws them, and the log says how
    many. But below a stage that trains by LoRA alone they stay frozen. `print(stages)` shows what is kept
    frozen.

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
            - "frozen": it uses its moving statistics, and nothing of it moves.
            - None: "train" for Keras layers; for Hub stages the policy given to `load_backbone`.

            In a Hub stage "inference" and "frozen" turn dropout off as well.
        dropout: What layers that draw random numbers (dropout, noise, stochastic depth) do in frozen stages
            while the model trains; in stages that train they always draw.

            - None: as Keras has it: they draw, whatever the call of a nested model says (Keras ignores
              `backbone(x, training=False)` while an outer model trains). Frozen Hub stages draw nothing, or
              do as `load_backbone(dropout=...)` said.
            - "inference": nothing is drawn: each frozen layer computes as with `training=False`, so a frozen
              feature extractor gives the same for a sample each time, and `PrefixCache` can record it.
            - "train": they draw while the outermost model trains, also where a call inside it says
              `training=False`. A Hub stage runs its training graph; one whose training graph normalizes by
              the batch is refused.

            A layer without weights is in the frozen part if it lies in a layer or nested model that is frozen
            as a whole, or between layers that are: nothing that trains comes before it, and a frozen layer
            comes after it. So a Dropout between the last frozen layer and the head is the head's, and stays
            active. So does data augmentation: layers without weights before the first weight, but those that
            draw a number for each element, as dropout and noise do. Where Keras does not know the order of
            calls (a subclassed model), only what lies in frozen layers counts. The policy is no part of a
            saved file: give it again.
        keep_frozen: Layers that stay frozen whatever their flags were and whatever the depth is: names, paths
            (`student/body`) or patterns (`*_bn`) of layers, also of those that hold layers; or stages' names.
            It counts for this call.
        everything: Whether to forget what you have frozen yourself, LoRA's base weights included, now and in
            later calls: then all layers of the stages from `depth` on train, but those in `keep_frozen`.

    Returns:
        The stages of the model.

    Raises:
        TypeError, ValueError: `depth` is not a depth of this model, the model can't be divided, a Hub
            stage can't follow `batch_norm` or `dropout`, a name in `keep_frozen` means no layer, one without
            weights or several, or a layer can't be frozen: SpectralNormalization rewrites its kernel
            whatever its flags say.

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
    depth = stages.depth(depth)
    check_batch_norm(batch_norm, stages[depth:])
    check_dropout(dropout, stages[:depth])
    log_kept(stages, declare_kept(stages, keep_frozen, everything), depth)
    set_depth(stages, depth, batch_norm, dropout)
    _keras.apply_trainable_flags(stages.model)
    return stages


def unfreeze(
    model: keras.Model | Stages,
    batch_norm: BatchNormPolicy | None = None,
    *,
    dropout: DropoutPolicy | None = None,
    keep_frozen: Sequence[str] = (),
    everything: bool = False,
) -> Stages:
    """Let every stage train: `freeze` at depth 0.

    Args:
        model: A built model, or its `Stages`.
        batch_norm: As in `freeze`.
        dropout: As in `freeze`, for stages that stay frozen at every depth.
        keep_frozen: As in `freeze`.
        everything: As in `freeze`: let even those layers and weights train that you have frozen yourself.

    Returns:
        The stages of the model.

    Raises:
        TypeError, ValueError: As in `freeze`.

    Example:
        >>> net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, name="body"),
        ...                         keras.layers.Dense(2, name="top")])
        >>> net.get_layer("body").enable_lora(2)
        >>> _ = unfreeze(net)
        >>> len(net.trainable_variables)  # body: bias, a and b; top: kernel and bias
        5
        >>> _ = unfreeze(net, everything=True)
        >>> len(net.trainable_variables)
        6
    """
    return freeze(model, 0, batch_norm, dropout=dropout, keep_frozen=keep_frozen, everything=everything)


def freeze_depth(model: keras.Model | Stages) -> int:
    """Count the stages, from the input on, that are frozen: the depth that `freeze` was given last.

    Args:
        model: A built model, or its `Stages`.

    Returns:
        The depth that kerasft set last, if the flags are still as it set them. Otherwise 0 if the first stage
        trains, the number of stages if nothing does.
    """
    stages = find_stages(model)
    if (known := depth_set_last(stages)) is not None:
        return known
    if not stages.model.trainable:
        return len(stages)
    return next((i for i, stage in enumerate(stages) if changes_in_training(stage)), len(stages))


@contextlib.contextmanager
def frozen(
    model: keras.Model | Stages,
    depth: int | str,
    batch_norm: BatchNormPolicy | None = None,
    *,
    dropout: DropoutPolicy | None = None,
    keep_frozen: Sequence[str] = (),
    everything: bool = False,
) -> Iterator[Stages]:
    """Freeze up to `depth` inside a `with` block; afterwards every flag and policy is what it was before.

    Args:
        model: A built model, or its `Stages`.
        depth: As in `freeze`.
        batch_norm: As in `freeze`.
        dropout: As in `freeze`.
        keep_frozen: As in `freeze`.
        everything: As in `freeze`, but forgotten after the block.

    Yields:
        The stages.
    """
    stages = find_stages(model)
    flags = Flags(stages.model)
    try:
        yield freeze(
            stages, depth, batch_norm, dropout=dropout, keep_frozen=keep_frozen, everything=everything
        )
    finally:
        flags.restore()
        _keras.apply_trainable_flags(stages.model)
