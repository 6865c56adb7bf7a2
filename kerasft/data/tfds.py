"""Data sets of tensorflow-datasets."""

from __future__ import annotations

import difflib
import os

import numpy as np
import tensorflow as tf

from kerasft.data.fashion_mnist import read_fashion_mnist
from kerasft.data.rule import PixelRule
from kerasft.data.source import LabelledSource, digest_pixels


def read_tfds(name: str, data_dir: str | os.PathLike[str] | None) -> LabelledSource:
    """Read the splits train, validation and test of a data set of images with a class label."""
    raw = read_fashion_mnist(data_dir) if name == "fashion_mnist" else None
    if raw is not None:
        return raw
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=None if data_dir is None else os.fspath(data_dir))
    except (tfds.core.DatasetNotFoundError, tfds.core.registered.DatasetNotFoundError) as error:
        near = difflib.get_close_matches(name, tfds.list_builders(), n=5)
        hint = f" Near it are {near}." if near else ""
        raise ValueError(f"tensorflow-datasets has no data set {name!r}.{hint}") from error
    features = builder.info.features
    if not {"image", "label"} <= set(features or {}) or not hasattr(features["label"], "names"):
        raise ValueError(f"{name} has no images with a class label; its features are {list(features or {})}.")
    try:
        builder.download_and_prepare()
    except Exception as error:  # tfds lets errors of many libraries through
        raise ConnectionError(
            f"{name} could not be downloaded or prepared: {error}. Check the connection, or prepare it "
            "elsewhere and pass its folder as data_dir (--data-dir)."
        ) from error
    images, labels, digests, parts = [], [], [], []
    for split, part in (("train", 0), ("validation", 1), ("test", 2)):
        if split in builder.info.splits:
            for row in builder.as_dataset(split=split):
                images.append(tf.io.encode_png(row["image"]).numpy())
                labels.append(int(row["label"]))
                digests.append(digest_pixels(row["image"].numpy()))
                parts.append(part)
    if not np.any(np.array(parts) == 0):
        raise ValueError(f"{name} has no split `train`, only {list(builder.info.splits)}.")

    def read(row: int, rule: PixelRule, size: int) -> np.ndarray:
        return rule.read(images[row], size)

    names = tuple(features["label"].names)
    return LabelledSource(read, np.array(labels, "int32"), names, tuple(digests), np.array(parts))
