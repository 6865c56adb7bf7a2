"""Labelled images and texts as tf.data, from folders, CSV files, TFDS; one rule from a file to pixels."""

from kerasft.data.load import (
    ImageData,
    load_dataset,
)
from kerasft.data.pictures import read_picture
from kerasft.data.rule import PixelRule
from kerasft.data.split import Split
from kerasft.data.texts import TextData, load_texts
from kerasft.data.what import kind_of

__all__ = [
    "ImageData",
    "PixelRule",
    "Split",
    "TextData",
    "kind_of",
    "load_dataset",
    "load_texts",
    "read_picture",
]
