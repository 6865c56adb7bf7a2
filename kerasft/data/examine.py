"""Each file looked at before training: its hash, whether it is whole, and what is done to its picture."""

from __future__ import annotations

import concurrent.futures
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from kerasft.data.pictures import decoding, opened, orientation, reason


@dataclass(frozen=True)
class Finding:
    """What was found of a file.

    Attributes:
        digest: sha256 of its bytes.
        damage: Why it can't be read, or None.
        alpha: Whether it has an alpha channel, or another kind of transparency.
        turned: Whether its EXIF orientation turns or mirrors it.
    """

    digest: str
    damage: str | None = None
    alpha: bool = False
    turned: bool = False


def examined(paths: Sequence[Path]) -> list[Finding]:
    """Look at files of pictures, several at a time."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return list(pool.map(examine, paths))


def examine(path: Path) -> Finding:
    """Look at a file: at the checksums of a PNG, or else decode it, a JPEG at an eighth of its size."""
    if not path.is_file():  # to read from a named pipe waits for ever
        return Finding("", "a pipe, a device or a folder, and no file" if path.exists() else "No such file")
    try:
        content = path.read_bytes()
    except OSError as error:
        return Finding("", reason(error))
    digest = hashlib.sha256(content).hexdigest()
    try:
        image = opened(io.BytesIO(content), path.suffix)
        alpha, turned = image.has_transparency_data, _turned(image, content)
        if image.format == "PNG":
            image.verify()  # the checksum of each piece, to the last one
        else:
            with decoding(content) as whole:
                whole.draft("L", (1, 1))  # only JPEG can; all its bits are read, and few pixels are made
                whole.load()
        if image.mode in ("F", "LAB") or (image.mode == "I" and image.format != "PNG"):
            raise ValueError(f"its pixels (mode {image.mode}) don't say which number is white")
    except Exception as error:  # the decoders of many formats raise what they like
        return Finding(digest, reason(error))
    return Finding(digest, None, alpha, turned)


def _turned(image: Image.Image, content: bytes) -> bool:
    marks = (b"eXIf", b"Raw profile type", b"Orientation")
    if image.format == "PNG" and not any(mark in content for mark in marks):
        return False  # Pillow would decode the picture to look behind it
    if image.format == "PNG":
        image = opened(io.BytesIO(content))
    return orientation(image) in range(2, 9)
