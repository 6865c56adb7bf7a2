"""Labelled images as tf.data: a TFDS data set, a folder of class folders, or scikit-learn's digits."""

from kerasft.data.load import (
    ImageData,
    load_dataset,
)
from kerasft.data.split import Split

__all__ = [
    "ImageData",
    "Split",
    "load_dataset",
]
