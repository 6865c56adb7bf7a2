"""Pictures as a viewer shows them: upright, in colour, on a ground. Pillow is the one decoder."""

from __future__ import annotations

import functools
import io
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageColor

MOST_PIXELS = 2**28  # of a picture; 805 MB in RGB
_AT_ONCE = 2**26  # pixels that are decoded at the same time, unless one picture alone has more
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_picture(source: str | os.PathLike[str] | bytes, *, background: str = "white") -> np.ndarray:
    """Read a picture as a viewer shows it: turned as EXIF says, its transparent parts on a background.

    Palettes, greys, CMYK and 16 bits become RGB of 8 bits (of 16, the upper eight); of an animation it is the
    first frame. Colour profiles are left aside.

    Args:
        source: A file, or the bytes of one. What it holds decides how it is read, not its name.
        background: The colour under transparent parts, as Pillow names colours: "white", "#808080".

    Returns:
        uint8 of shape (height, width, 3).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no picture that Pillow can read, it is damaged, or it has more than 268 million
            pixels; or `background` is no colour.

    Example:
        >>> file = io.BytesIO()
        >>> Image.new("LA", (2, 1), (0, 0)).save(file, "png")
        >>> read_picture(file.getvalue()).tolist()
        [[[255, 255, 255], [255, 255, 255]]]
    """
    ground = colour(background)
    with decoding(source) as image:
        return np.asarray(on_ground(upright(image), ground))


def colour(name: str) -> tuple[int, int, int]:
    """The RGB of a colour's name; raises ValueError if Pillow does not know it, or it is transparent."""
    try:
        red, green, blue, *alpha = ImageColor.getrgb(name)
    except (ValueError, AttributeError, TypeError):
        alpha = [0]
    if alpha not in ([], [255]):
        raise ValueError(
            'background is an opaque colour as Pillow names it, such as "white" or "#808080"; received '
            f"{name!r}."
        )
    return red, green, blue


@contextmanager
def decoding(source: str | os.PathLike[str] | bytes) -> Iterator[Image.Image]:
    """Open a picture to be decoded in the block, where what Pillow raises becomes a ValueError with a reason.

    Blocks of several threads wait for each other where their pictures together would need too much memory.
    """
    path = None if isinstance(source, bytes) else Path(source)
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
            image = opened(file, "" if path is None else path.suffix)
            with _room.taken(image.width * image.height):
                try:
                    yield image
                finally:
                    image.close()  # its pixels go before others take their place
    except FileNotFoundError:
        raise
    except Exception as error:  # the decoders of many formats raise what they like
        where = "" if path is None else f"{path}: "
        raise ValueError(f"{where}{reason(error)}") from error


def reason(error: Exception) -> str:
    """What a decoder's error says, in a line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:160]


def opened(file: BinaryIO, suffix: str = "") -> Image.Image:
    """Read the head of a picture; its pixels are decoded later.

    Pillow's `Image.open` warns of large pictures by a limit of the whole process, so its readers are called
    here.
    """
    known = formats()
    head = file.read(16)
    if not head:
        raise ValueError("the file is empty")
    said = ""
    for kind, suffixes in known.items():
        factory, accepts = Image.OPEN[kind]
        # a format without a mark of its own would take any file
        if suffix.lower() not in suffixes if accepts is None else accepts(head) is not True:
            continue
        file.seek(0)
        try:
            image = factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error) as error:
            said = f"; as {kind}: {reason(error)}"
            continue
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(
                f"the picture has {image.width:,}×{image.height:,} pixels, more than {MOST_PIXELS:,}: scale "
                "it down"
            )
        return image
    raise ValueError(f"no picture of a kind that is read{said}")


def formats() -> dict[str, list[str]]:
    """The formats that this Pillow can read, with their suffixes; plugins that were registered included."""
    Image.init()
    return _formats(frozenset(Image.OPEN))


@functools.lru_cache(maxsize=4)
def _formats(names: frozenset[str]) -> dict[str, list[str]]:
    """Try each format on a picture that Pillow has written itself."""
    endings = [(s, kind) for s, kind in Image.registered_extensions().items() if s]
    found: dict[str, list[str]] = {}
    for kind in sorted(names & set(Image.SAVE) - {"EPS"}):  # a program: Ghostscript would run it
        own = sorted(s for s, other in endings if other in (kind, _PARENTS.get(kind)))
        if own and any(_comes_back(kind, mode) for mode in ("RGB", "1")):
            found[kind] = own
    return found


_PARENTS = {"JPEG": "MPO"}  # what the first reads of the second's files


def _comes_back(kind: str, mode: str) -> bool:
    file = io.BytesIO()
    try:
        Image.new(mode, (16, 16)).save(file, kind)
        file.seek(0)
        Image.OPEN[kind][0](file, "").load()
    except Exception:  # of many decoders
        return False
    return True


def suffixes() -> frozenset[str]:
    """The suffixes of files that are read, in lower case.

    Example:
        >>> {".jpg", ".jfif", ".png", ".webp", ".tif"} <= suffixes()
        True
    """
    return frozenset(suffix for found in formats().values() for suffix in found)


def orientation(image: Image.Image) -> int:
    """The EXIF orientation: 1 is upright. One that can't be read counts as none, as in viewers."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # whatever a broken EXIF block leads to
        return 1


def upright(image: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF orientation says."""
    image.load()  # a PNG's orientation may stand behind its pixels; Pillow turns a TIFF while it decodes it
    turn = _TURNS.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def on_ground(image: Image.Image, ground: tuple[int, int, int]) -> Image.Image:
    """Bring a picture to RGB, its transparent parts on a ground."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        image = _upper_byte(image)
    if image.mode in ("I", "F"):
        raise ValueError(
            f"pixels of 32 bits (mode {image.mode}) don't say which number is white: save it with 8 or 16 "
            "bits"
        )
    if not image.has_transparency_data:
        return image.convert("RGB")
    whole = Image.new("RGBA", image.size, (*ground, 255))
    whole.alpha_composite(image.convert("RGBA"))
    return whole.convert("RGB")


def _upper_byte(image: Image.Image) -> Image.Image:
    """A grey picture of 16 bits in 8; with an alpha channel if one grey is transparent."""
    values = np.asarray(image).astype(np.int32)
    grey = Image.fromarray((values >> 8).astype("uint8"))
    clear = image.info.get("transparency")
    if clear is not None:
        grey = grey.convert("LA")
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype("uint8")))
    return grey


class _Room:
    """Memory that threads share: one waits until the pictures of the others leave it enough."""

    def __init__(self, most: int) -> None:
        self.most, self.used, self.free = most, 0, threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        with self.free:
            self.free.wait_for(lambda: not self.used or self.used + pixels <= self.most)
            self.used += pixels
        try:
            yield
        finally:
            with self.free:
                self.used -= pixels
                self.free.notify_all()


_room = _Room(_AT_ONCE)
