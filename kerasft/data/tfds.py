"""Data sets of tensorflow-datasets: by name, or as a builder."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kerasft.data.fashion_mnist import read_fashion_mnist
from kerasft.data.folder import read_folder
from kerasft.data.layout import part_named
from kerasft.data.listing import IMAGES, TEXTS, Kind
from kerasft.data.rule import PixelRule
from kerasft.data.source import LabelledSource, TextSource, digest_pixels
from kerasft.data.table import LABELS
from kerasft.data.text_table import texts_source

PREFIX = "tfds:"
_HOW = (
    "Write tfds:NAME, tfds:NAME/CONFIG or tfds:NAME:VERSION, such as tfds:mnist, tfds:imdb_reviews or "
    "tfds:cifar10:3.0.2 (https://www.tensorflow.org/datasets/catalog has the names). A folder "
    "with files in SPLIT/LABEL, as tfds.ImageFolder takes it, is given by its path."
)
_NO_TEXT = re.compile(
    r"(.*[/_])?(file_?name|file_?path|path|url|id)"
)  # texts that say where a sample is from
_USUAL = {IMAGES.one: {"image", "img", "picture"}, TEXTS.one: {"text", "sentence", "review"}}


def is_builder(source: Any) -> bool:
    """Whether a source is a builder of tensorflow-datasets, such as `tfds.ImageFolder(folder)`."""
    return hasattr(source, "as_dataset") and hasattr(source, "info")


def source_name(source: Any) -> str:
    """What messages call a source: its text, an ImageFolder's folder, or `tfds:` and a builder's name."""
    if not is_builder(source):
        return os.fspath(source)
    return str(source.data_dir) if _is_image_folder(source) else f"{PREFIX}{source.info.full_name}"


def is_tfds(source: Any) -> bool:
    """Whether a source is a builder of tensorflow-datasets, or the name of one."""
    return is_builder(source) or os.fspath(source).startswith(PREFIX)


def read_tfds(
    source: Any, data_dir: str | os.PathLike[str] | None, skip_corrupt: bool = False
) -> LabelledSource:
    """Read the splits of a data set of images with a class label.

    Args:
        source: "tfds:NAME", or a builder. The files of an ImageFolder are read as those of its folder.
        data_dir: Where tensorflow-datasets keeps its files.
        skip_corrupt: For an ImageFolder: leave out images that can't be decoded.

    Raises:
        ConnectionError: It can't be downloaded.
        ValueError: No such data set, no split for training, or not one image and one class label.
    """
    raw = read_fashion_mnist(data_dir) if source == f"{PREFIX}fashion_mnist" else None
    if raw is not None:
        return raw
    builder = _builder(source, data_dir)
    if _is_image_folder(builder):
        found = read_folder(Path(builder.data_dir), skip_corrupt)
        if list(found.class_names) != list(builder.info.features["label"].names):
            raise ValueError(
                f"The folder {builder.data_dir} has the classes {list(found.class_names)}, and the "
                f"ImageFolder {builder.info.features['label'].names}. Make the ImageFolder anew if files "
                "have changed since; all folders in those of the splits are classes."
            )
        return found
    images: list[bytes] = []
    digests: list[str] = []

    def keep(image: tf.Tensor) -> None:
        images.append(tf.io.encode_png(image).numpy())
        digests.append(digest_pixels(image.numpy()))

    labels, parts, names, notes = _rows(builder, IMAGES, keep)

    def read(row: int, rule: PixelRule, size: int) -> np.ndarray:
        return rule.read(images[row], size)

    return LabelledSource(
        read, np.array(labels, "int32"), names, tuple(digests), np.array(parts), notes=tuple(notes)
    )


def read_tfds_texts(source: Any, data_dir: str | os.PathLike[str] | None) -> TextSource:
    """Read the splits of a data set of texts with a class label: see `read_tfds`."""
    texts: list[str] = []
    builder = _builder(source, data_dir)
    labels, parts, class_names, notes = _rows(
        builder, TEXTS, lambda text: texts.append(text.numpy().decode("utf-8", "replace"))
    )
    names = [f"number {row}" for row in range(len(texts))]
    return texts_source(texts, labels, parts, class_names, names, notes)


def tfds_kind(source: Any, data_dir: str | os.PathLike[str] | None) -> str:
    """Whether a data set is one of images or of texts: "images" or "text".

    Raises:
        ValueError: It has both, and does not say itself which is the input.
    """
    if source == f"{PREFIX}fashion_mnist":
        return "images"
    info = _builder(source, data_dir).info
    images, texts = (_inputs(info, kind) for kind in (IMAGES, TEXTS))
    keys = info.supervised_keys
    if keys and keys[0] in images + texts:
        return "images" if keys[0] in images else "text"
    if images and texts:
        raise ValueError(
            f"{source_name(source)} has images ({', '.join(images)}) and texts ({', '.join(texts)}), and no "
            "supervised keys. Say which with --as images or --as text."
        )
    return "text" if texts else "images"


def _rows(
    builder: Any, kind: Kind, keep: Callable[[tf.Tensor], None]
) -> tuple[list[int], list[int], tuple[str, ...], list[str]]:
    """Go through the splits; labels, parts, names of the classes, and notes."""
    name = source_name(builder)
    inputs, label = _features(builder.info, kind, name)
    _prepare(builder, name)
    splits = {split: part_named(split) for split in builder.info.splits}
    notes = []
    if len(splits) == 1 and 0 not in splits.values():
        notes.append(
            f"The only split, {next(iter(splits))!r}, is divided into training, validation and test."
        )
        splits = dict.fromkeys(splits, 0)
    if 0 not in splits.values():
        raise ValueError(
            f"{name} has no split `train`, but {list(splits)}, and nothing says which of them is for "
            f"training. Write the {kind.many} into a folder or a CSV file whose parts are named train, "
            "validation and test."
        )
    labels, parts, without = [], [], 0
    for split, part in splits.items():
        if part is not None:
            for row in builder.as_dataset(split=split):
                number = int(row[label])
                if number < 0:  # a label that is kept back
                    without += 1
                    continue
                keep(row[inputs])
                labels.append(number)
                parts.append(part)
    if 0 not in parts:
        trained = [split for split, part in splits.items() if part == 0]
        raise ValueError(f"{name} has no {kind.many} with a label in its split {trained[0]!r}.")
    others = [split for split, part in splits.items() if part is None]
    if others:
        notes.append(f"The splits {others} are left out: they are not for training, validation or test.")
    if without:
        notes.append(f"{without:,} {kind.many} have no label (-1) and are left out.")
    return labels, parts, tuple(builder.info.features[label].names), notes


def _features(info: Any, kind: Kind, name: str) -> tuple[str, str]:
    """The keys of input and label: the supervised ones, or the only ones that there are."""
    keys = info.supervised_keys
    first, second = keys if keys and len(keys) == 2 else (None, None)
    found = []
    for what, there, supervised, usual in (
        (kind.one, _inputs(info, kind), first, _USUAL[kind.one]),
        ("class label", _labels(info), second, LABELS),
    ):
        named = there if len(there) == 1 else [key for key in there if key in usual]
        if supervised in there:
            found.append(supervised)
        elif len(named) == 1:
            found.append(named[0])
        else:
            several = f"several, {' and '.join(there)}, and nothing says which" if there else "none"
            shown = ", ".join(f"{key} ({type(part).__name__})" for key, part in (info.features or {}).items())
            raise ValueError(
                f"{name} is no data set of {kind.many} with one class label each. It needs one {kind.one} "
                f"and one ClassLabel; of the kind {what} it has {several}. Its features are {shown}."
            )
    return found[0], found[1]


def _inputs(info: Any, kind: Kind) -> list[str]:
    """The keys of the features of a kind."""
    import tensorflow_datasets as tfds

    features = info.features or {}
    if kind is IMAGES:
        masks = tfds.features.LabeledImage
        return [
            key
            for key, part in features.items()
            if isinstance(part, tfds.features.Image)
            and not isinstance(part, masks)
            and part.get_tensor_info().tf_dtype in (tf.uint8, tf.uint16)
        ]
    return [
        key
        for key, part in features.items()
        if isinstance(part, tfds.features.Text)
        and part.get_tensor_info().tf_dtype == tf.string  # and not ids
        and not _NO_TEXT.fullmatch(key)
    ]


def _labels(info: Any) -> list[str]:
    import tensorflow_datasets as tfds

    features = (info.features or {}).items()
    return [key for key, part in features if isinstance(part, tfds.features.ClassLabel) and part.names]


def _is_image_folder(source: Any) -> bool:
    import tensorflow_datasets as tfds

    return isinstance(source, tfds.ImageFolder)


def _builder(source: Any, data_dir: str | os.PathLike[str] | None) -> Any:
    import tensorflow_datasets as tfds

    if is_builder(source):
        return source
    name = os.fspath(source).removeprefix(PREFIX)
    if not name.strip():
        raise ValueError(f"{os.fspath(source)!r} names no data set of tensorflow-datasets. {_HOW}")
    try:
        return tfds.builder(name, data_dir=None if data_dir is None else os.fspath(data_dir))
    except (tfds.core.DatasetNotFoundError, tfds.core.registered.DatasetNotFoundError) as error:
        near = difflib.get_close_matches(name, tfds.list_builders(), n=5)
        hint = f" Near it are {near}." if near else ""
        raise ValueError(f"tensorflow-datasets has no data set {name!r}.{hint}") from error
    except ValueError as error:  # a name in another form, or no such configuration
        raise ValueError(f"tensorflow-datasets can't open {name!r}: {error}\n{_HOW}") from error


def _prepare(builder: Any, name: str) -> None:
    try:
        builder.download_and_prepare()
    except Exception as error:  # tfds lets errors of many libraries through
        raise ConnectionError(
            f"{name} could not be downloaded or prepared: {error}. Check the connection, or prepare it "
            "elsewhere and pass its folder as data_dir (--data-dir)."
        ) from error
