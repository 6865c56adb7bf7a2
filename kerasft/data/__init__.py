"""Labelled images as tf.data, from folders, CSV files, TFDS or digits; one rule from a file to pixels."""

from kerasft.data.load import (
    ImageData,
    load_dataset,
)
from kerasft.data.pictures import read_picture
from kerasft.data.rule import PixelRule
from kerasft.data.split import Split

__all__ = [
    "ImageData",
    "PixelRule",
    "Split",
    "load_dataset",
    "read_picture",
]
