"""Labelled pictures that are still to be read."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from kerasft.data.listing import IMAGES, TEXTS, Kind
from kerasft.data.rule import PixelRule


class Labelled(Protocol):
    """What is known of labelled data before any of them is read; see `LabelledSource`."""

    @property
    def kind(self) -> Kind: ...
    @property
    def labels(self) -> np.ndarray: ...
    @property
    def class_names(self) -> tuple[str, ...]: ...
    @property
    def digests(self) -> tuple[str, ...]: ...
    @property
    def parts(self) -> np.ndarray: ...
    @property
    def names(self) -> tuple[str, ...]: ...


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

    kind: ClassVar[Kind] = IMAGES
    read: Callable[[int, PixelRule, int], np.ndarray]
    labels: np.ndarray
    class_names: tuple[str, ...]
    digests: tuple[str, ...]
    parts: np.ndarray
    names: tuple[str, ...] = ()
    skipped: tuple[Path, ...] = ()
    left_out: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextSource:
    """Texts, what is known of each, and what has to be said about them.

    Attributes:
        texts: The texts.
        labels, class_names, parts, names, skipped, left_out, notes: As in `LabelledSource`.
    """

    kind: ClassVar[Kind] = TEXTS
    texts: tuple[str, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]
    parts: np.ndarray
    names: tuple[str, ...] = ()
    skipped: tuple[Path, ...] = ()
    left_out: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    @functools.cached_property
    def digests(self) -> tuple[str, ...]:
        """sha256 of the UTF-8 bytes of each text."""
        return tuple(hashlib.sha256(text.encode()).hexdigest() for text in self.texts)


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
