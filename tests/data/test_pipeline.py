"""Pictures are read when they are needed, once where they are kept, and in an order that repeats."""

import os

import numpy as np
import pytest
import tensorflow as tf
from pictures import write_classes

from kerasft.data import load_dataset
from kerasft.data.pipeline import batches, reader
from kerasft.data.rule import PixelRule
from kerasft.data.source import LabelledSource

SIZE = 4


class Counted:
    """A source whose pictures have the row's number as their pixels."""

    def __init__(self, count):
        self.rows = []
        digests = tuple(f"{i:064x}" for i in range(count))
        labels = np.arange(count, dtype="int32")
        self.source = LabelledSource(self.read, labels, ("a",), digests, np.zeros(count, int))

    def read(self, row, rule, size):
        self.rows.append(row)
        return np.full((size, size, 3), row % 256, "uint8")


def order(data):
    return [int(label) for _, labels in data for label in labels]


@pytest.mark.parametrize("cache", ["auto", "memory", "off", "folder"])
def test_each_picture_is_read_once_where_it_is_kept(tmp_path, cache):
    counted, rows = Counted(20), np.arange(3, 20)
    read = reader(counted.source, PixelRule(), SIZE, rows, tmp_path / "new" if cache == "folder" else cache)
    data = batches(read, counted.source.labels, rows, SIZE, 5, seed=0)
    for _ in range(3):
        for images, labels in data:
            assert images.dtype == tf.float32 and images.shape[1:] == (SIZE, SIZE, 3)
            np.testing.assert_array_equal(images[:, 0, 0, 0], labels)
    assert sorted(counted.rows) == sorted(rows.tolist() * (3 if cache == "off" else 1))
    if cache == "folder":
        assert os.listdir(tmp_path / "new") == []  # nothing stays behind, whatever ends the process


def test_a_cache_that_is_not_asked_for_ends_at_400_mb():
    counted = Counted(3)
    rows = np.arange(3)
    size = 6_700  # 3 × 6,700² × 3 bytes
    read = reader(counted.source, PixelRule(), size, rows, "auto")
    first = read(0)
    assert read(0) is not first and counted.rows == [0, 0]


def test_the_order_is_that_of_the_seed_and_the_pass():
    counted, rows = Counted(50), np.arange(50)

    def passes(seed):
        read = reader(counted.source, PixelRule(), SIZE, rows, "off")
        data = batches(read, counted.source.labels, rows, SIZE, 8, seed)
        return [order(data) for _ in range(3)]

    assert passes(1) == passes(1) and passes(1) != passes(2)
    assert len({tuple(p) for p in passes(1)}) == 3 and all(sorted(p) == rows.tolist() for p in passes(1))
    assert passes(None) == [rows.tolist()] * 3


def test_the_first_batch_reads_no_more_than_it_needs():
    counted, rows = Counted(2_000), np.arange(2_000)
    read = reader(counted.source, PixelRule(), SIZE, rows, "off")
    next(iter(batches(read, counted.source.labels, rows, SIZE, 8, seed=0)))
    assert len(counted.rows) < 500  # today's shuffle would read all of them


def test_a_file_that_breaks_in_training_is_named(tmp_path):
    root = write_classes(tmp_path / "pets", count=4)
    data = load_dataset(root, image_size=SIZE, cache="off")
    for path in root.rglob("*.png"):
        path.write_bytes(b"gone bad")
    with pytest.raises(tf.errors.OpError, match=r"pets/(cat|dog)/\d.png: no picture"):
        list(data.train)
