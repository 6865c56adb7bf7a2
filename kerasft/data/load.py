"""Labelled images as tf.data: a folder of class folders, a CSV file, a TFDS data set, or digits."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kerasft.arguments import check_integer, check_number
from kerasft.data.digits import read_digits
from kerasft.data.division import OUT, divide, limited
from kerasft.data.folder import read_folder
from kerasft.data.pipeline import batches, reader
from kerasft.data.rule import PixelRule
from kerasft.data.source import LabelledSource
from kerasft.data.split import Split
from kerasft.data.table import SUFFIXES, read_table
from kerasft.data.tfds import is_tfds, read_tfds, source_name

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageData:
    """Images and labels, divided.

    Attributes:
        train: Batches of (images, labels): float32 of shape (batch, height, width, 3), whole numbers from 0
            to 255, and int32 of shape (batch,). In a new order in each pass, which the seed and the number of
            the pass decide.
        validation: The same in a fixed order, for decisions during training.
        test: The same in a fixed order, touched by no decision.
        class_names: Name of each label.
        name: What was loaded.
        train_size: Number of training images.
        validation_size: Number of validation images.
        test_size: Number of test images.
        split: The part of each image, by its hash: a record to be kept beside the model. It knows the images
            that `limit` leaves out as well.
        pixels: The rule by which files become pixels, for all parts.
        skipped: Files that are damaged and were left out.
        left_out: Files that are no pictures of a kind that is read, and pictures without a label.
        notes: What has to be known about the data, a sentence each: what was left out, turned upright or set
            on a background, and what was understood of names. They are logged as well.
        class_counts: Number of training images of each class.
        test_names: The file of each test image, in their order; empty where they have none.
    """

    train: tf.data.Dataset
    validation: tf.data.Dataset
    test: tf.data.Dataset
    class_names: tuple[str, ...]
    name: str
    train_size: int
    validation_size: int
    test_size: int
    split: Split
    pixels: PixelRule
    skipped: tuple[Path, ...] = ()
    left_out: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    class_counts: tuple[int, ...] = ()
    test_names: tuple[str, ...] = ()


def load_dataset(
    source: str | os.PathLike[str] | Any,
    *,
    image_size: int = 224,
    batch_size: int = 32,
    seed: int = 0,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    limit: int | None = None,
    split: Split | None = None,
    resize: str = "antialias",
    background: str = "white",
    layout: str | None = None,
    cache: str | os.PathLike[str] = "auto",
    skip_corrupt: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
) -> ImageData:
    """Load labelled images, and divide them into training, validation and test images.

    **A folder** has a folder of images for each class, or has such folders in `train` and, if they are there,
    in `validation` and `test`; other usual names (`Training`, `val`, `dev`, `testing`, …) mean the same.
    Where names have two readings, nothing is read. **A CSV file** has a path, counted from its folder, and a
    label in each row: a name, a number, or a column of 0 and 1 for each class; a column `split` says the
    part. Columns are found by usual names, and paths by the files that exist.

    **The pixels** are those of `PixelRule`: upright, on a background, resized, rounded to whole numbers. A
    file is looked at once (its hash; whether it is whole) and its pixels are made when training needs them.

    **The split.** What the source has divided stays so. Else the sha256 of an image's file, read as a number
    in 0…1, says its part: below `test_fraction` it is a test image, above that and within the share of
    `validation_fraction` one for validation. So the part of an image depends on nothing but its bytes: no
    other seed, limit, order, name or new image moves it, and exact copies are in one part. Where the hashes
    of a class leave a part without an image, its image with the lowest hash goes there (the highest, if that
    part is for training). Where the source's own parts share an image, it is used in the part that is held
    out, and `notes` counts it.

    Args:
        source: "digits" (scikit-learn's 1,797 digits), "tfds:NAME", a folder, a CSV file, or a builder of
            tensorflow-datasets such as `tfds.ImageFolder(folder)`. A data set of TFDS says by its supervised
            keys what is the image and what the label, or has one of each.
        image_size: Side of the square images in pixels.
        batch_size: Images in a batch.
        seed: Seed of the order in training, and of what `limit` chooses.
        validation_fraction: Share of the images that are not test images, about.
        test_fraction: Share of all images, about, if the source has no test images of its own.
        limit: Use about this many images, the same number of each class, each in the part that it has
            without a limit.
        split: The split of an earlier run: images that it knows stay in its parts, whatever the source says.
        resize: "antialias", "bilinear" or "mediapipe", as in `PixelRule`.
        background: The colour under transparent parts.
        layout: "classes" or "groups" where the names of folders have two readings, as the error says.
        cache: Where images are kept once they were read at their size, as bytes: "memory"; a folder, for a
            file in it that goes with the process; "off"; or "auto", memory up to 400 MB and off beyond.
        skip_corrupt: Leave out images that can't be decoded instead of raising.
        data_dir: Where tensorflow-datasets keeps its files; for `tfds:fashion_mnist` also a folder with the
            four original files.

    Returns:
        The divided images.

    Raises:
        FileNotFoundError: The folder or file does not exist.
        ImportError: scikit-learn is not installed.
        ConnectionError: A TFDS data set can't be downloaded.
        TypeError: `split` is no Split, or a fraction no number.
        ValueError: One class only, a class without images or with too few to be divided, an image that
            can't be decoded (the message names it), names with two readings, or a data set without images and
            labels.

    Example:
        >>> data = load_dataset("digits", image_size=32)
        >>> data.train_size, data.validation_size, data.test_size
        (1306, 146, 345)
    """
    check_integer("image_size", image_size, at_least=1)
    check_integer("batch_size", batch_size, at_least=1)
    check_number("validation_fraction", validation_fraction, above=0, below=1)
    check_number("test_fraction", test_fraction, above=0, below=1)
    if split is not None and not isinstance(split, Split):
        raise TypeError(
            f"split is a Split, as Split.from_json(path) reads it; received {type(split).__name__}."
        )
    text = source_name(source)
    rule = PixelRule(resize, background)
    found = _read(source, skip_corrupt, data_dir, layout)
    if len(found.class_names) < 2:
        raise ValueError(f"{text} has one class only ({found.class_names[0]!r}); a classifier needs two.")
    division = divide(found, validation_fraction, test_fraction, split)
    notes = (*found.notes, *division.notes)
    for note in notes:
        logger.warning("%s: %s", text, note)
    parts = limited(found, division.parts, limit, seed)

    train, validation, test = (np.flatnonzero(parts == part) for part in range(3))
    used = np.flatnonzero(parts != OUT)
    read = reader(found, rule, image_size, used, cache)
    return ImageData(
        train=batches(read, found.labels, train, image_size, batch_size, seed),
        validation=batches(read, found.labels, validation, image_size, batch_size),
        test=batches(read, found.labels, test, image_size, batch_size),
        class_names=found.class_names,
        name=text,
        train_size=len(train),
        validation_size=len(validation),
        test_size=len(test),
        split=division.split,
        pixels=rule,
        skipped=found.skipped,
        left_out=found.left_out,
        notes=notes,
        class_counts=tuple(np.bincount(found.labels[train], minlength=len(found.class_names)).tolist()),
        test_names=tuple(found.names[row] for row in test) if found.names else (),
    )


def _read(
    source: Any, skip_corrupt: bool, data_dir: str | os.PathLike[str] | None, layout: str | None
) -> LabelledSource:
    if is_tfds(source):
        return read_tfds(source, data_dir, skip_corrupt)
    if os.fspath(source) == "digits":
        return read_digits()
    path = Path(source)
    if path.suffix.lower() in SUFFIXES and not path.is_dir():
        return read_table(path, skip_corrupt)
    return read_folder(path, skip_corrupt, layout)
