"""The one rule by which a picture becomes a model's pixels, in training and wherever the model runs."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from kerasft.data.pictures import colour, decoding, on_ground, upright
from kerasft.files import parse_json, write_text

RESIZES = ("antialias", "bilinear", "mediapipe")
_HUGE = 2**24  # pixels; such pictures are brought nearer to their size while they are decoded
_NEARER = 4  # times the size that is wanted
_BAND = 16  # lines of that size at a time


@dataclass(frozen=True)
class PixelRule:
    """How a file of a picture becomes pixels of 0…255.

    The picture is turned as its EXIF orientation says, its transparent parts get a ground, it becomes RGB of
    8 bits (`read_picture`), is stretched to a square, and rounded to whole numbers.

    Attributes:
        resize: "antialias" weights all pixels that a new one covers by a triangle: Pillow's BILINEAR, and
            `tf.image.resize(antialias=True)` up to rounding. The others look at four pixels alone: "bilinear"
            at those about the new one's centre (`tf.image.resize`; LiteRT's RESIZE_BILINEAR with
            half_pixel_centers), "mediapipe" at those about its upper left corner, as MediaPipe Tasks does on
            a CPU (LiteRT's RESIZE_BILINEAR without). Where a picture is enlarged, the first two are the same.
        background: The colour under transparent parts.

    Raises:
        ValueError: There is no such resize, or `background` is no opaque colour.

    Example:
        >>> rule = PixelRule("bilinear")
        >>> rule.fitted(np.array([[0, 100]], "uint8"), 1).tolist()
        [[[50, 50, 50]]]
    """

    resize: str = "antialias"
    background: str = "white"

    def __post_init__(self) -> None:
        if self.resize not in RESIZES:
            raise ValueError(f"resize is one of {', '.join(RESIZES)}; received {self.resize!r}.")
        colour(self.background)

    def read(self, source: str | os.PathLike[str] | bytes, size: int) -> np.ndarray:
        """Read a file, or the bytes of one, at a size.

        With "antialias", a picture of more than 16.8 million pixels is first averaged by area, a JPEG by its
        own scaling first, to four times the size, so that it is in memory once at most.

        Args:
            source: As in `read_picture`.
            size: Side of the square in pixels.

        Returns:
            uint8 of shape (size, size, 3).

        Raises:
            FileNotFoundError, ValueError: As in `read_picture`.
        """
        ground = colour(self.background)
        with decoding(source) as image:
            if image.width * image.height > _HUGE and self.resize == "antialias":
                return np.asarray(upright(_averaged(image, size, ground)))
            return self._stretched(upright(image), size, ground)

    def fitted(self, pixels: np.ndarray, size: int) -> np.ndarray:
        """Bring an array of pixels to a size.

        Args:
            pixels: uint8 of shape (height, width), (height, width, 1) or (height, width, 3).
            size: Side of the square in pixels.

        Returns:
            uint8 of shape (size, size, 3).
        """
        flat = pixels[..., 0] if pixels.shape[2:] == (1,) else pixels
        return self._stretched(Image.fromarray(flat), size, colour(self.background))

    def to_dict(self) -> dict[str, str]:
        """The rule for a report, so that a client can do the same.

        Example:
            >>> PixelRule().to_dict()["resize"]
            'antialias'
        """
        return {
            "orientation": "as EXIF says",
            "background": self.background,
            "colours": "RGB of 8 bits, profiles left aside",
            "shape": "stretched, nothing cut off",
            "resize": self.resize,
            "rounding": "to whole numbers of 0 to 255",
        }

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write the rule into a file, which is whole whenever it is there."""
        write_text(path, json.dumps(self.to_dict(), indent=1) + "\n")

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> PixelRule:
        """Read what `to_json` has written.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is no rule, or one that this version does not know.
        """
        content = parse_json(Path(path).read_text(encoding="utf-8"), f"The rule {os.fspath(path)}")
        given = content if isinstance(content, dict) else {}
        try:
            rule = cls(given["resize"], given["background"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)} is no rule for pixels: {error}") from None
        if rule.to_dict() != content:
            raise ValueError(
                f"{os.fspath(path)} holds a rule for pixels that this kerasft does not know: {content}. It "
                f"reads {rule.to_dict()}."
            )
        return rule

    def _stretched(self, image: Image.Image, size: int, ground: tuple[int, int, int]) -> np.ndarray:
        if self.resize != "antialias":
            return _from_neighbours(image, size, ground, 0.5 if self.resize == "bilinear" else 0.0)
        return np.asarray(on_ground(image, ground).resize((size, size), Image.Resampling.BILINEAR))


def _averaged(image: Image.Image, size: int, ground: tuple[int, int, int]) -> Image.Image:
    """A huge picture on its ground: averaged by area, in bands, and then resized; not yet turned."""
    count = _NEARER * size
    scaled = image.draft(None, (count, count))  # JPEG alone can do that
    image.load()
    wide, high = image.size if scaled is None else scaled[1][2:]
    small = Image.new("RGB", (count, count))
    for first in range(0, count, _BAND):
        last = min(first + _BAND, count)
        top, bottom = (row * high / count for row in (first, last))
        above = int(top)
        band = on_ground(image.crop((0, above, image.width, min(math.ceil(bottom), image.height))), ground)
        box = (0, top - above, wide, min(bottom - above, band.height))
        small.paste(band.resize((count, last - first), Image.Resampling.BOX, box), (0, first))
    found = small.resize((size, size), Image.Resampling.BILINEAR)
    found.info = {key: value for key, value in image.info.items() if key != "transparency"}
    return found


def _from_neighbours(
    image: Image.Image, size: int, ground: tuple[int, int, int], centre: float
) -> np.ndarray:
    """Bilinear interpolation between the four pixels about each new one's centre, or its corner at 0."""
    (top, bottom, down), (left, right, across) = (
        _neighbours(count, size, centre) for count in (image.height, image.width)
    )
    if image.width * image.height > _HUGE:  # only the lines that are needed
        lines = [on_ground(image.crop((0, y, image.width, y + 1)), ground) for y in (*top, *bottom)]
        rows = np.concatenate([np.asarray(line) for line in lines])
        upper, lower = rows[:size], rows[size:]
    else:
        whole = np.asarray(on_ground(image, ground))
        upper, lower = whole[top], whole[bottom]
    lines_of = [
        rows[:, left] * (1 - across[:, None]) + rows[:, right] * across[:, None] for rows in (upper, lower)
    ]
    down = down[:, None, None]
    return np.rint(lines_of[0] * (1 - down) + lines_of[1] * down).astype("uint8")


def _neighbours(count: int, size: int, centre: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pixels before and behind each new one, and how far it is from the first to the second."""
    at = (np.arange(size) + centre) * count / size - centre
    below = np.floor(at)
    return (
        np.clip(below, 0, count - 1).astype(int),
        np.clip(below + 1, 0, count - 1).astype(int),
        at - below,
    )
