"""Labelled pictures that are still to be read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class LabelledSource:
    """Pictures still to be read, what is known of each, and what has to be said about them.

    Attributes:
        images: What `read` takes, of shape (pictures, …).
        labels: int32 of shape (pictures,).
        read: Reads one picture.
        class_names: Name of each label.
        digests: sha256 of each picture: of its file's bytes, or of its pixels where there is no file.
        parts: The part that the source itself gives each: 0 train, 1 validation, 2 test.
        skipped: Files that are damaged.
        notes: What a user has to know about the data, a sentence each.
    """

    images: np.ndarray
    labels: np.ndarray
    read: Callable[[tf.Tensor], tf.Tensor]
    class_names: tuple[str, ...]
    digests: tuple[str, ...]
    parts: np.ndarray
    skipped: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def digest_pixels(image: np.ndarray) -> str:
    """The sha256 of a picture that has no file of its own: of its shape, its dtype and its pixels.

    Example:
        >>> digest_pixels(np.zeros((1, 2), "uint8")) == digest_pixels(np.zeros((2, 1), "uint8"))
        False
    """
    head = f"{image.dtype.str}{image.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(image).tobytes()).hexdigest()
