"""Labelled texts as tf.data: a folder of class folders, a CSV file, JSON lines, or a TFDS data set."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kerasft.arguments import check_integer, check_number
from kerasft.data.division import divide, limited
from kerasft.data.source import TextSource
from kerasft.data.split import Split
from kerasft.data.table import SUFFIXES
from kerasft.data.text_folder import read_text_folder
from kerasft.data.text_table import JSON_SUFFIXES, read_text_table
from kerasft.data.tfds import is_tfds, read_tfds_texts, source_name

logger = logging.getLogger(__name__)

_AT_ONCE = 256


@dataclass(frozen=True)
class TextData:
    """Texts and labels, divided.

    Attributes:
        train: Batches of (texts, labels): strings of shape (batch,) and int32 of shape (batch,). In a new
            order in each pass, which the seed and the number of the pass decide.
        validation, test: The same in a fixed order.
        class_names: Name of each label.
        name: What was loaded.
        train_size, validation_size, test_size: Number of texts.
        split: The part of each text, by the sha256 of its UTF-8 bytes.
        skipped: Files that are no UTF-8 and were left out.
        left_out: Files that are no texts, and texts without a label.
        notes: What has to be known about the data, a sentence each. They are logged as well.
        rows: The texts and labels of the three parts.
        class_counts: Number of training texts of each class.
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
    left_out: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    rows: tuple[Rows, ...] = field(default=(), repr=False)
    class_counts: tuple[int, ...] = ()

    def mapped(self, function: Callable[[tf.Tensor], Any]) -> tuple[tf.data.Dataset, ...]:
        """Training, validation and test batches of (what a function makes of the texts, labels).

        The function is called once for each text, before training; the orders are those of the texts.

        Args:
            function: Takes strings of shape (batch,); gives a tensor or a dict of tensors.

        Example:
            ```python
            train, validation, test = data.mapped(TextRule.of("vocab.txt").tokenizer())
            ```
        """
        return tuple(part.batches(function) for part in self.rows)


@dataclass(frozen=True)
class Rows:
    """The texts of a part, their labels, and how they are batched; without a seed, in a fixed order."""

    texts: tf.Tensor
    labels: np.ndarray
    batch_size: int
    seed: int | None = None

    def batches(self, function: Callable[[tf.Tensor], Any] = lambda texts: texts) -> tf.data.Dataset:
        """Batches of (what a function makes of the texts, labels)."""
        steps = range(0, max(len(self.labels), 1), _AT_ONCE)
        found = [function(self.texts[begin : begin + _AT_ONCE]) for begin in steps]
        made = tf.nest.map_structure(lambda *pieces: tf.concat(pieces, 0), *found)
        data = tf.data.Dataset.from_tensor_slices((made, self.labels))
        if self.seed is not None:
            data = data.shuffle(max(len(self.labels), 1), seed=self.seed, reshuffle_each_iteration=True)
        return data.batch(self.batch_size)


def load_texts(
    source: str | os.PathLike[str] | Any,
    *,
    batch_size: int = 32,
    seed: int = 0,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    limit: int | None = None,
    split: Split | None = None,
    layout: str | None = None,
    skip_corrupt: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
) -> TextData:
    """Load labelled texts, and divide them into training, validation and test texts.

    **A folder** has a folder of .txt files, in UTF-8, for each class; parts and their names are understood as
    by `load_dataset`. **A CSV or TSV file** has a text and a label in each row, and maybe a column `split`;
    columns are found by usual names, or by what is in them. **JSON lines** have an object in each line, such
    as `{"text": "…", "label": "…"}`. Labels are names or numbers. Empty texts are left out and counted.

    **The split** is that of `load_dataset`, by the sha256 of a text's UTF-8 bytes: copies are in one part.

    Args:
        source: A folder, a CSV or TSV file, JSON lines (.jsonl, .ndjson, .json), "tfds:NAME", or a builder
            of tensorflow-datasets.
        batch_size: Texts in a batch.
        seed: Seed of the order in training, and of what `limit` chooses.
        validation_fraction: Share of the texts that are not test texts, about.
        test_fraction: Share of all texts, about, if the source has no test texts of its own.
        limit: Use about this many texts, the same number of each class, each in the part that it has without
            a limit.
        split: The split of an earlier run: texts that it knows stay in its parts, whatever the source says.
        layout: "classes" or "groups" where the names of folders have two readings, as the error says.
        skip_corrupt: Leave out files that are no UTF-8 instead of raising.
        data_dir: Where tensorflow-datasets keeps its files.

    Returns:
        The divided texts.

    Raises:
        FileNotFoundError: The folder or file does not exist.
        ConnectionError: A TFDS data set can't be downloaded.
        TypeError: `split` is no Split, or a fraction no number.
        ValueError: One class only, a class with too few texts, files that are no UTF-8 (the message names
            them), or columns with two readings.
    """
    check_integer("batch_size", batch_size, at_least=1)
    check_number("validation_fraction", validation_fraction, above=0, below=1)
    check_number("test_fraction", test_fraction, above=0, below=1)
    if split is not None and not isinstance(split, Split):
        raise TypeError(
            f"split is a Split, as Split.from_json(path) reads it; received {type(split).__name__}."
        )
    name = source_name(source)
    found = _read(source, skip_corrupt, data_dir, layout)
    if len(found.class_names) < 2:
        raise ValueError(f"{name} has one class only ({found.class_names[0]!r}); a classifier needs two.")
    division = divide(found, validation_fraction, test_fraction, split)
    notes = (*found.notes, *division.notes)
    for note in notes:
        logger.warning("%s: %s", name, note)
    parts = limited(found, division.parts, limit, seed)
    train, validation, test = (np.flatnonzero(parts == part) for part in range(3))
    rows = (
        _rows(found, train, batch_size, seed),
        _rows(found, validation, batch_size),
        _rows(found, test, batch_size),
    )
    return TextData(
        train=rows[0].batches(),
        validation=rows[1].batches(),
        test=rows[2].batches(),
        class_names=found.class_names,
        name=name,
        train_size=len(train),
        validation_size=len(validation),
        test_size=len(test),
        split=division.split,
        skipped=found.skipped,
        left_out=found.left_out,
        notes=notes,
        rows=rows,
        class_counts=tuple(np.bincount(rows[0].labels, minlength=len(found.class_names)).tolist()),
    )


def _read(
    source: Any, skip_corrupt: bool, data_dir: str | os.PathLike[str] | None, layout: str | None
) -> TextSource:
    if is_tfds(source):
        return read_tfds_texts(source, data_dir)
    path = Path(source)
    if path.suffix.lower() in (*SUFFIXES, *JSON_SUFFIXES) and not path.is_dir():
        return read_text_table(path)
    return read_text_folder(path, skip_corrupt, layout)


def _rows(source: TextSource, rows: np.ndarray, batch_size: int, seed: int | None = None) -> Rows:
    texts = np.array([source.texts[row].encode() for row in rows], object)
    return Rows(tf.constant(texts, tf.string, (len(rows),)), source.labels[rows], batch_size, seed)
