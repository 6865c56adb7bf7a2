"""Fashion-MNIST from its four original files."""

from __future__ import annotations

import gzip
import logging
import os
from pathlib import Path

import numpy as np

from kerasft.data.source import LabelledSource, arrays_source

logger = logging.getLogger(__name__)

_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")


def read_fashion_mnist(data_dir: str | os.PathLike[str] | None) -> LabelledSource | None:
    """Read its four original files in `data_dir` or of Debian's package; None if they are in neither."""
    for folder in (Path(data_dir) if data_dir is not None else None, DEBIAN_FOLDER):
        files = [
            None if folder is None else folder / f"{split}-{kind}-ubyte.gz"
            for split in ("train", "t10k")
            for kind in ("images-idx3", "labels-idx1")
        ]
        if not all(file is not None and file.is_file() for file in files):
            continue
        logger.info("Fashion-MNIST is read from %s.", folder)
        arrays = [read_idx(file) for file in files if file is not None]
        images = np.concatenate([arrays[0], arrays[2]])[..., None]
        labels = np.concatenate([arrays[1], arrays[3]]).astype("int32")
        parts = np.repeat([0, 2], [len(arrays[0]), len(arrays[2])])
        return arrays_source(images, labels, _CLASSES, parts)
    return None


def read_idx(path: Path) -> np.ndarray:
    """An array of bytes in the IDX format: two zeros, the type, the number of axes, their lengths."""
    content = gzip.decompress(path.read_bytes())
    axes = content[3]
    shape = np.frombuffer(content, ">i4", axes, offset=4)
    if content[:3] != b"\x00\x00\x08" or len(content) != 4 + 4 * axes + int(np.prod(shape)):
        raise ValueError(f"{path} is damaged: it is no whole IDX file of bytes.")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
