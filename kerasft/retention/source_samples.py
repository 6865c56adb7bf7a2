"""replay: a few samples of the data that the original was trained for, in each batch of the new ones."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from kerasft.arguments import check_integer, check_number
from kerasft.retention.accuracy import check_labelled
from kerasft.retention.distillation import check_batches


def replay(dataset: tf.data.Dataset, source: Any, *, share: float = 0.2, seed: int = 0) -> tf.data.Dataset:
    """Add samples of the source data to each batch, for a model with the outputs of `with_original_head`.

    A batch (x, y) becomes (x, (y, source y), (weight, source weight)): its own samples weigh 1 in the loss of
    the new head and 0 in that of the old one, source samples the other way round. An epoch has as many
    batches as before. Source samples come in an order of their own, again and again.

    Args:
        dataset: Batches (x, y) of target data.
        source: (x, y) arrays, or a `tf.data.Dataset` of batches, of data for the original; a few samples of
            each class. x has the shape of the target's.
        share: The share of source samples in a batch, above 0 and below 1: with .2, a batch of 32 gets 8
            more. A smaller last batch gets as many.
        seed: Of the order of the source samples.

    Returns:
        Batches for `fit`.

    Raises:
        TypeError: `dataset` is no `tf.data.Dataset` of batches (x, y), or `source` neither that nor arrays.
        ValueError: `share` is not between 0 and 1; x of source and target differ in shape or type.

    Example:
        >>> import numpy as np
        >>> target = tf.data.Dataset.from_tensor_slices((np.zeros((4, 2)), np.array([0, 1, 1, 0]))).batch(4)
        >>> mixed = replay(target, (np.ones((3, 2)), np.array([4, 5, 6])), share=0.2)
        >>> x, labels, (weight, source_weight) = next(iter(mixed))
        >>> x.shape[0], weight.numpy().tolist(), source_weight.numpy().tolist()
        (5, [1.0, 1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0])

    References:
        Rebuffi et al. (2017), iCaRL, arXiv:1611.07725; Chaudhry et al. (2019), On tiny episodic memories in
        continual learning, arXiv:1902.10486.
    """
    check_number("share", share, above=0, below=1)
    check_integer("seed", seed, at_least=0)
    check_batches("replay", dataset)
    check_labelled("`source`", source)
    if isinstance(source, tf.data.Dataset):
        samples = source.map(lambda *batch: batch[:2]).unbatch()
    else:
        samples = tf.data.Dataset.from_tensor_slices(tuple(source))
    samples = samples.map(_as(dataset.element_spec[0], samples.element_spec[0])).cache()
    first = next(iter(dataset.take(1)), None)
    count = sum(1 for _ in samples)
    if first is None or not count:
        raise ValueError(f"replay needs data: the {'source' if first is not None else 'dataset'} is empty.")
    rows = int(tf.shape(tf.nest.flatten(first[0])[0])[0])
    more = max(1, round(rows * share / (1 - share)))
    stream = samples.shuffle(count, seed=seed, reshuffle_each_iteration=True).repeat().batch(more, True)
    return tf.data.Dataset.zip(dataset, stream).map(_mixed).prefetch(tf.data.AUTOTUNE)


def _as(target: Any, source: Any) -> Any:
    """A function that gives source samples the type of target samples."""
    targets, sources = tf.nest.flatten(target), tf.nest.flatten(source)
    fits = len(targets) == len(sources) and all(
        t.shape[1:].is_compatible_with(s.shape) and t.dtype.is_floating == s.dtype.is_floating
        for t, s in zip(targets, sources, strict=True)
    )
    if not fits:
        raise ValueError(
            "replay: samples of the source look different from those of the dataset. Each of the source has "
            f"{[(tuple(s.shape), s.dtype.name) for s in sources]}; a batch of the dataset has "
            f"{[(tuple(t.shape), t.dtype.name) for t in targets]}. Prepare both the same way."
        )

    def cast(x: Any, y: Any) -> Any:
        return tf.nest.map_structure(lambda leaf, spec: tf.cast(leaf, spec.dtype), x, target), y

    return cast


def _mixed(new: Any, old: Any) -> Any:
    """One batch of both, each with its own labels and none of the other's."""
    (x, y), (old_x, old_y) = new, old
    rows, old_rows = tf.shape(tf.nest.flatten(x)[0])[0], tf.shape(tf.nest.flatten(old_x)[0])[0]

    def none_of(labels: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        return tf.zeros(tf.concat([[count], tf.shape(labels)[1:]], 0), labels.dtype)

    both = tf.nest.map_structure(lambda a, b: tf.concat([a, b], 0), x, old_x)
    labels = tf.concat([y, none_of(y, old_rows)], 0), tf.concat([none_of(old_y, rows), old_y], 0)
    weights = tf.concat([tf.ones(rows), tf.zeros(old_rows)], 0)
    return both, labels, (weights, 1.0 - weights)
