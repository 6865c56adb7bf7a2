"""Data sets of tensorflow-datasets."""

from __future__ import annotations

import difflib
import os
from typing import Any

import numpy as np
import tensorflow as tf

from kerasft.data.fashion_mnist import read_fashion_mnist
from kerasft.data.rule import PixelRule
from kerasft.data.source import LabelledSource, TextSource, digest_pixels
from kerasft.data.text_table import texts_source


def read_tfds(name: str, data_dir: str | os.PathLike[str] | None) -> LabelledSource:
    """Read the splits train, validation and test of a data set of images with a class label."""
    raw = read_fashion_mnist(data_dir) if name == "fashion_mnist" else None
    if raw is not None:
        return raw
    builder = _builder(name, data_dir)
    features = builder.info.features
    if not {"image", "label"} <= set(features or {}) or not hasattr(features["label"], "names"):
        raise ValueError(f"{name} has no images with a class label; its features are {list(features or {})}.")
    _prepare(builder, name)
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


def read_tfds_texts(name: str, data_dir: str | os.PathLike[str] | None) -> TextSource:
    """Read the splits train, validation and test of a data set of texts with a class label."""
    builder = _builder(name, data_dir)
    features = builder.info.features
    texts = _text_features(features)
    if len(texts) != 1 or not hasattr((features or {}).get("label"), "names"):
        raise ValueError(
            f"{name} has no text with a class label: its features are {list(features or {})}, and "
            f"{len(texts)} of them are texts."
        )
    _prepare(builder, name)
    found: list[str] = []
    labels: list[int] = []
    parts: list[int] = []
    for split, part in (("train", 0), ("validation", 1), ("test", 2)):
        if split in builder.info.splits:
            for row in builder.as_dataset(split=split):
                if int(row["label"]) >= 0:  # -1 where a label is kept back
                    found.append(row[texts[0]].numpy().decode("utf-8", "replace"))
                    labels.append(int(row["label"]))
                    parts.append(part)
    if 0 not in parts:
        raise ValueError(f"{name} has no split `train`, only {list(builder.info.splits)}.")
    names = [f"number {row}" for row in range(len(found))]
    return texts_source(found, labels, parts, tuple(features["label"].names), names, [])


def tfds_kind(name: str, data_dir: str | os.PathLike[str] | None) -> str:
    """Whether a data set is one of images or of texts: "images" or "text"."""
    if name == "fashion_mnist":
        return "images"
    features = _builder(name, data_dir).info.features or {}
    return "text" if "image" not in features and _text_features(features) else "images"


def _text_features(features: Any) -> list[str]:
    import tensorflow_datasets as tfds

    return [key for key, feature in (features or {}).items() if isinstance(feature, tfds.features.Text)]


def _builder(name: str, data_dir: str | os.PathLike[str] | None) -> Any:
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, data_dir=None if data_dir is None else os.fspath(data_dir))
    except (tfds.core.DatasetNotFoundError, tfds.core.registered.DatasetNotFoundError) as error:
        near = difflib.get_close_matches(name, tfds.list_builders(), n=5)
        hint = f" Near it are {near}." if near else ""
        raise ValueError(f"tensorflow-datasets has no data set {name!r}.{hint}") from error


def _prepare(builder: Any, name: str) -> None:
    try:
        builder.download_and_prepare()
    except Exception as error:  # tfds lets errors of many libraries through
        raise ConnectionError(
            f"{name} could not be downloaded or prepared: {error}. Check the connection, or prepare it "
            "elsewhere and pass its folder as data_dir (--data-dir)."
        ) from error
