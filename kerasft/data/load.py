"""Labelled images as tf.data: a TFDS data set, a folder of class folders, or scikit-learn's digits."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from kerasft.arguments import check_number
from kerasft.data.digits import read_digits
from kerasft.data.division import divide, limited
from kerasft.data.folder import read_folder
from kerasft.data.source import LabelledSource
from kerasft.data.split import Split
from kerasft.data.tfds import read_tfds

_CACHE_BYTES = 1_000_000_000


@dataclass(frozen=True)
class ImageData:
    """Images and labels, divided.

    Attributes:
        train: Batches of (images, labels): float32 of shape (batch, height, width, 3) from 0 to 255, and
            int32 of shape (batch,). In a new order in each pass.
        validation: The same in a fixed order, for decisions during training.
        test: The same in a fixed order, touched by no decision.
        class_names: Name of each label.
        name: What was loaded.
        train_size: Number of training images.
        validation_size: Number of validation images.
        test_size: Number of test images.
        split: The part of each image, by its hash: a record to be kept beside the model. It knows the images
            that `limit` leaves out as well.
        skipped: Files that could not be read and were left out.
        notes: What has to be known about the data, a sentence each.
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
    skipped: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def load_dataset(
    source: str | os.PathLike[str],
    *,
    image_size: int = 224,
    batch_size: int = 32,
    seed: int = 0,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    limit: int | None = None,
    split: Split | None = None,
    skip_corrupt: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
) -> ImageData:
    """Load labelled images, and divide them into training, validation and test images.

    **The split.** What the source has divided stays so. Else the sha256 of an image's file, read as a number
    in 0…1, says its part: below `test_fraction` it is a test image, above that and within the share of
    `validation_fraction` one for validation. So the part of an image depends on nothing but its bytes: no
    other seed, limit, order, name or new image moves it, and exact copies are in one part. Where the hashes
    of a class leave a part without an image, its image with the lowest hash goes there (the highest, if that
    part is for training). Where the source's own parts share an image, it is used in the part that is held
    out, and `notes` counts it.

    Args:
        source: "digits" (scikit-learn's 1,797 digits), "tfds:NAME", or a folder with a folder of images for
            each class, or with such folders in `train`, `test` and, if there is one, `validation`.
        image_size: Side of the square images in pixels; they are resized bilinearly.
        batch_size: Images in a batch.
        seed: Seed of the order in training, and of what `limit` chooses.
        validation_fraction: Share of the images that are not test images, about.
        test_fraction: Share of all images, about, if the source has no test images of its own.
        limit: Use about this many images, the same number of each class, each in the part that it has
            without a limit.
        split: The split of an earlier run: images that it knows stay in its parts, whatever the source says.
        skip_corrupt: Leave out images that can't be decoded instead of raising.
        data_dir: Where tensorflow-datasets keeps its files; for `tfds:fashion_mnist` also a folder with the
            four original files.

    Returns:
        The divided images.

    Raises:
        FileNotFoundError: The folder does not exist.
        ImportError: scikit-learn is not installed.
        ConnectionError: A TFDS data set can't be downloaded.
        TypeError: `split` is no Split, or a fraction no number.
        ValueError: One class only, a class without images or with too few to be divided, an image that
            can't be decoded (the message names it), or a data set without images and labels.

    Example:
        >>> data = load_dataset("digits", image_size=32)
        >>> data.train_size, data.validation_size, data.test_size
        (1306, 146, 345)
    """
    check_number("validation_fraction", validation_fraction, above=0, below=1)
    check_number("test_fraction", test_fraction, above=0, below=1)
    if split is not None and not isinstance(split, Split):
        raise TypeError(
            f"split is a Split, as Split.from_json(path) reads it; received {type(split).__name__}."
        )
    text = os.fspath(source)
    found = _read(text, skip_corrupt, data_dir)
    if len(found.class_names) < 2:
        raise ValueError(f"{text} has one class only ({found.class_names[0]!r}); a classifier needs two.")
    division = divide(found, validation_fraction, test_fraction, split)
    parts = limited(found, division.parts, limit, seed)

    train, validation, test = (np.flatnonzero(parts == part) for part in range(3))
    return ImageData(
        train=_pipeline(found, train, image_size, batch_size, seed),
        validation=_pipeline(found, validation, image_size, batch_size),
        test=_pipeline(found, test, image_size, batch_size),
        class_names=found.class_names,
        name=text,
        train_size=len(train),
        validation_size=len(validation),
        test_size=len(test),
        split=division.split,
        skipped=found.skipped,
        notes=(*found.notes, *division.notes),
    )


def _read(source: str, skip_corrupt: bool, data_dir: str | os.PathLike[str] | None) -> LabelledSource:
    if source == "digits":
        return read_digits()
    if source.startswith("tfds:"):
        return read_tfds(source.removeprefix("tfds:"), data_dir)
    return read_folder(Path(source), skip_corrupt)


def _pipeline(
    source: LabelledSource, rows: np.ndarray, image_size: int, batch_size: int, seed: int | None = None
) -> tf.data.Dataset:
    """Batches of the images in some rows, in a new order in each pass if there is a seed."""
    data = tf.data.Dataset.from_tensor_slices((source.images[rows], source.labels[rows]))
    data = data.map(
        lambda image, label: (_resize(source.read(image), image_size), label),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    if len(rows) * image_size * image_size * 12 < _CACHE_BYTES:
        data = data.cache()
    if seed is not None:
        data = data.shuffle(min(len(rows), 10_000), seed=seed, reshuffle_each_iteration=True)
    return data.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def _resize(image: tf.Tensor, size: int) -> tf.Tensor:
    image = tf.image.resize(tf.cast(image, tf.float32), (size, size), antialias=True)
    if image.shape[-1] == 1:
        image = tf.image.grayscale_to_rgb(image)
    return tf.ensure_shape(image[..., :3], (size, size, 3))
