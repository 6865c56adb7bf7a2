"""Labelled pictures that are still to be read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kerasft.data.rule import PixelRule


@dataclass(frozen=True)
class LabelledSource:
    """Pictures still to be read, what is known of each, and what has to be said about them.

    Attributes:
        read: Reads the picture of a row by a rule, at a size: uint8 of shape (size, size, 3).
        labels: int32 of shape (pictures,).
        class_names: Name of each label.
        digests: sha256 of each picture: of its file's bytes, or of its pixels where there is no file.
        parts: The part that the source itself gives each: 0 train, 1 validation, 2 test.
        names: The file of each; empty where there are none.
        skipped: Files that are damaged.
        left_out: Files that are no pictures, and pictures that have no label.
        notes: What a user has to know about the data, a sentence each.
    """

    read: Callable[[int, PixelRule, int], np.ndarray]
    labels: np.ndarray
    class_names: tuple[str, ...]
    digests: tuple[str, ...]
    parts: np.ndarray
    names: tuple[str, ...] = ()
    skipped: tuple[Path, ...] = ()
    left_out: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def arrays_source(
    images: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...], parts: np.ndarray
) -> LabelledSource:
    """A source of pictures in memory: uint8 of shape (pictures, height, width, 1 or 3)."""

    def read(row: int, rule: PixelRule, size: int) -> np.ndarray:
        return rule.fitted(images[row], size)

    return LabelledSource(read, labels, class_names, tuple(map(digest_pixels, images)), parts)


def digest_pixels(image: np.ndarray) -> str:
    """The sha256 of a picture that has no file of its own: of its shape, its dtype and its pixels.

    Example:
        >>> digest_pixels(np.zeros((1, 2), "uint8")) == digest_pixels(np.zeros((2, 1), "uint8"))
        False
    """
    head = f"{image.dtype.str}{image.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(image).tobytes()).hexdigest()
