"""The default recipe: the head solved on frozen features, then the backbone thawed on views of pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from kerasft.arguments import check_integer, check_number
from kerasft.freezing import BatchNormPolicy, check_batch_norm
from kerasft.learning_rates import layerwise_decay, with_lr_multipliers
from kerasft.probe import FrozenHead
from kerasft.recipes.augmentation import KINDS, Kind, augmented, check_pictures
from kerasft.recipes.measured import Measured, backbone_digest, measure, read_kept, write_kept
from kerasft.stages import Stages, find_stages
from kerasft.unfreezing import GradualUnfreezing, Phase, UnfreezingSchedule

EPOCHS, RATE, WEIGHT_DECAY, STRENGTH = 12, 2e-4, 0.05, 0.15
LEAST_WARM_UP = 10
"""Steps: with a batch or two in an epoch, one of AdamW's first steps at the full rate can undo the head."""


@dataclass(frozen=True)
class DefaultRecipe:
    """What `default` made of a model and data; `print` says it in words.

    Attributes:
        optimizer, loss: For `model.compile`.
        train: For `model.fit`: views of the pictures, drawn anew in each pass; other data as they are.
        epochs, callbacks: For `model.fit`, too; the callbacks are `GradualUnfreezing`.
        schedule: The one phase, in which everything from the freeze depth on trains.
        stages: The model's stages.
        rate: The highest learning rate.
        layer_decay: The factor from a stage's rate to the one below it.
        kinds: The kinds of views that are trained on.
        measured: What was measured: the head's accuracy, and what views do.
    """

    optimizer: keras.optimizers.Optimizer
    loss: Any
    train: tf.data.Dataset
    epochs: int
    callbacks: list[keras.callbacks.Callback]
    schedule: UnfreezingSchedule
    stages: Stages
    rate: float
    layer_decay: float
    kinds: list[Kind]
    measured: Measured

    def __str__(self) -> str:
        (phase,) = self.schedule.phases
        trained = len(self.stages) - self.stages.depth(phase.depth)
        lower = (
            "" if self.layer_decay == 1 else f" for the last, {self.layer_decay:g} of it for the one below"
        )
        then = (
            f"Then {trained} of {len(self.stages)} stages train, {self.epochs} "
            f"epoch{'s' if self.epochs > 1 else ''}, at a rate of up to {self.rate:g}{lower}."
        )
        return "\n".join([*self.measured.sentences(), then])


def default(
    model: keras.Model | Stages,
    data: tf.data.Dataset,
    *,
    epochs: int = EPOCHS,
    depth: int | str | None = None,
    learning_rate: float = RATE,
    layer_decay: float = 1.0,
    weight_decay: float = WEIGHT_DECAY,
    views: Sequence[Kind] | None = None,
    strength: float = STRENGTH,
    limits: tuple[float, float] | None = None,
    class_weight: dict[int, float] | None = None,
    batch_norm: BatchNormPolicy | None = None,
    seed: int = 0,
    kept: str | os.PathLike[str] | None = None,
) -> DefaultRecipe:
    """Solve a model's head, and prepare the training of all of it in the user's own `fit`.

    1. The head becomes the best linear layer on what the frozen backbone gives (`kerasft.probe.solve_head`):
       the start that distorts the backbone least, for the time of one pass.
    2. The upper two thirds of the stages train for `epochs`: AdamW, whose rate warms up in the first epoch,
       or in ten steps if that is longer, and falls to zero by a cosine, the same for all of them; decay of
       kernels alone. BatchNormalization stays as it is.
    3. Half of the pictures are seen in other views in each pass, of the kinds that leave the classes as they
       are. Which those are is measured with the head.

    Args:
        model: A built model whose last layer is a Dense layer of one row a sample.
        data: Finite training data, batches of (x, y) or (x, y, sample_weight), shuffled as you like.
        epochs: For how long everything trains.
        depth: How many of the lowest stages stay frozen, or the name of the first that trains; None: a third.
        learning_rate: The highest rate, of the last stage.
        layer_decay: The factor from a stage's rate to the one below it.
        weight_decay: The decay of kernels, as AdamW counts it.
        views: The kinds of views; None for those that do it no harm. Empty: pictures as they are.
        strength: How far views go, see `augmented`.
        limits: The lowest and the highest value of a pixel; None reads them in a pass of its own.
        class_weight: What the samples of each class count when the head is solved; give it to `fit` as well.
        batch_norm: Policy for BatchNormalization in stages that train, see `kerasft.freeze`; None: "frozen",
            or "inference" where a Hub stage does not say which weights are scales and offsets.
        seed: Of views and folds.
        kept: A file, `.npz`. What was measured is written there, or read if the file is there, so that a run
            that is resumed goes on with the same.

    Returns:
        What `model.compile` and `model.fit` take. The model's head has new weights.

    Raises:
        TypeError: `data` are no `tf.data.Dataset`, or a number is none.
        ValueError: The data are infinite or empty, their targets don't fit the head, the last layer is no
            Dense layer, a number is out of bounds, views are asked for and x is no picture, or `kept` belongs
            to another model or other settings. The model is as it was.

    Example:
        >>> x, y = keras.random.uniform((32, 8, 8, 3), seed=0), tf.range(32) % 2
        >>> data = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(32, seed=0).batch(8)
        >>> net = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="body"),
        ...     keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2, "softmax", name="head")])
        >>> recipe = default(net, data, epochs=2)
        >>> net.compile(recipe.optimizer, recipe.loss, metrics=["accuracy"])
        >>> training = {"epochs": recipe.epochs, "callbacks": recipe.callbacks, "shuffle": False}
        >>> history = net.fit(recipe.train, **training, verbose=0)

    References:
        Kumar et al. (2022), arXiv:2202.10054; Clark et al. (2020), arXiv:2003.10555; Loshchilov & Hutter
        (2017), arXiv:1608.03983.
    """
    stages = find_stages(model)
    root = stages.model
    _check(data, epochs, learning_rate, layer_decay, weight_decay, strength)
    wanted = _kinds(data, views)
    depth = len(stages) // 3 if depth is None else depth
    UnfreezingSchedule([Phase(depth, epochs)]).check(stages, epochs)
    if batch_norm is None:
        batch_norm = "frozen" if _scales_are_known(stages, depth) else "inference"
    head = FrozenHead(root)
    settings = {
        "head": [list(v.shape) for v in head.layer.weights], "views": wanted, "strength": strength,
        "limits": limits, "class_weight": class_weight, "seed": seed, "data": str(data.element_spec),
        "backbone": backbone_digest(root, head),
    }  # fmt: skip
    measured = None if kept is None else read_kept(Path(kept), head, settings)
    if measured is None:
        measured = measure(head, data, wanted, views is None, strength, limits, class_weight, seed)
        if kept is not None:
            write_kept(Path(kept), head, settings, measured)
    steps = measured.batches * epochs
    phase = Phase(
        depth,
        epochs,
        learning_rate=keras.optimizers.schedules.CosineDecay(learning_rate, steps, 0.0),
        warmup_steps=max(measured.batches, LEAST_WARM_UP),
    )
    optimizer = with_lr_multipliers(
        keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay),
        layerwise_decay(stages, layer_decay),
        decay_vectors=False,
    )
    schedule = UnfreezingSchedule([phase])
    kinds = [report.kind for report in measured.kinds if report.is_used] if views is None else list(views)
    train = data
    if kinds and measured.limits is not None:
        train = augmented(data, kinds, strength=strength, limits=measured.limits, seed=seed)
    return DefaultRecipe(
        optimizer,
        root.loss if root.compiled and root.loss is not None else _loss(measured),
        train,
        epochs,
        [GradualUnfreezing(schedule, batch_norm=batch_norm, stages=stages, dropout="inference")],
        schedule,
        stages,
        learning_rate,
        layer_decay,
        kinds,
        measured,
    )


def _scales_are_known(stages: Stages, depth: int | str) -> bool:
    """Whether scales and offsets of batch normalization can be held in the stages that train."""
    try:
        check_batch_norm("frozen", stages[stages.depth(depth) :])
    except ValueError:
        return False
    return True


def _check(data: Any, epochs: int, rate: float, layers: float, weights: float, strength: float) -> None:
    if not isinstance(data, tf.data.Dataset):
        raise TypeError(
            f"The default recipe takes a tf.data.Dataset of batches (x, y), not {type(data).__name__}. For "
            "arrays: tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x)).batch(32)."
        )
    if data.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            "The data never end, so a pass over them has no number of steps. Leave out .repeat(), or say "
            "with .take(steps) how long a pass is."
        )
    check_integer("epochs", epochs, at_least=1)
    check_number("learning_rate", rate, above=0)
    check_number("layer_decay", layers, above=0)
    check_number("weight_decay", weights, at_least=0)
    check_number("strength", strength, at_least=0, below=1)


def _kinds(data: tf.data.Dataset, views: Sequence[Kind] | None) -> list[Kind]:
    """The kinds of views to look at: all that are named, or all if x is a picture."""
    if views is not None:
        if views:
            check_pictures(data)
        if unknown := sorted(set(views) - set(KINDS)):
            raise ValueError(f"There are no views of the kinds {unknown}. There are {list(KINDS)}.")
        return list(views)
    return list(KINDS) if _are_pictures(data) else []


def _are_pictures(data: tf.data.Dataset) -> bool:
    try:
        check_pictures(data)
    except ValueError:
        return False
    return True


def _loss(measured: Measured) -> Any:
    """The loss of the link, for predictions or scores."""
    losses = keras.losses
    if measured.link == "identity":
        return losses.MeanSquaredError()
    if measured.link == "sigmoid":
        return losses.BinaryCrossentropy(from_logits=measured.takes_scores)
    kind = losses.SparseCategoricalCrossentropy if measured.has_ids else losses.CategoricalCrossentropy
    return kind(from_logits=measured.takes_scores)
