"""Labelled images as tf.data: a TFDS data set, a folder of class folders, or scikit-learn's digits."""

from kerasft.data.load import (
    ImageData,
    load_dataset,
)

__all__ = [
    "ImageData",
    "load_dataset",
]
