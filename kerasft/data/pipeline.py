"""Batches of pictures, which are read when they are needed and not before."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from kerasft.data.rule import PixelRule
from kerasft.data.source import LabelledSource

CACHES = ("auto", "memory", "off")
_AUTO_BYTES = 400_000_000


def reader(
    source: LabelledSource, rule: PixelRule, size: int, rows: np.ndarray, cache: str | os.PathLike[str]
) -> Callable[[int], np.ndarray]:
    """A function that reads the picture of a row, from a cache of bytes where it was read before.

    Args:
        source: The pictures.
        rule: How they are read.
        size: Side of the square in pixels.
        rows: Those that will be read.
        cache: As in `load_dataset`.
    """
    needed = len(rows) * size * size * 3
    if cache == "off" or (cache == "auto" and needed > _AUTO_BYTES):
        return lambda row: source.read(row, rule, size)
    shape = (len(rows), size, size, 3)
    if cache in CACHES:
        kept = np.empty(shape, "uint8")
    else:
        Path(cache).mkdir(parents=True, exist_ok=True)
        # without a name, so that it goes with the process, whatever ends that
        with tempfile.TemporaryFile(dir=cache) as file:
            kept = np.memmap(file, "uint8", "w+", shape=shape)
    place = {int(row): index for index, row in enumerate(rows)}
    there = np.zeros(len(rows), bool)

    def read(row: int) -> np.ndarray:
        index = place[row]
        if not there[index]:
            kept[index] = source.read(row, rule, size)
            there[index] = True
        return kept[index]

    return read


def batches(
    read: Callable[[int], np.ndarray],
    labels: np.ndarray,
    rows: np.ndarray,
    size: int,
    batch_size: int,
    seed: int | None = None,
) -> tf.data.Dataset:
    """Batches of the pictures in some rows, in a new order in each pass if there is a seed."""

    @tf.autograph.experimental.do_not_convert
    def fetch(row: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.numpy_function(lambda i: read(int(i)), [row], tf.uint8, stateful=False)
        return tf.ensure_shape(image, (size, size, 3)), label

    data = tf.data.Dataset.from_tensor_slices((rows, labels[rows]))
    if seed is not None:
        data = data.shuffle(max(len(rows), 1), seed=seed, reshuffle_each_iteration=True)
    data = data.map(fetch, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size)
    return data.map(lambda images, label: (tf.cast(images, tf.float32), label)).prefetch(tf.data.AUTOTUNE)
