"""What a source holds, images or texts: said by its files, not by a guess."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kerasft.data.listing import IMAGES, TEXTS, Kind, listed
from kerasft.data.table import SUFFIXES, has_path_column, table_of
from kerasft.data.text_table import JSON_SUFFIXES, has_text_column, text_table
from kerasft.data.tfds import is_tfds, tfds_kind

_OPTION = "Say which with --as images or --as text."


def kind_of(source: str | os.PathLike[str] | Any, data_dir: str | os.PathLike[str] | None = None) -> str:
    """Say whether a source of `load_dataset` or `load_texts` holds images or texts.

    Args:
        source: As in these.
        data_dir: Where tensorflow-datasets keeps its files.

    Returns:
        "images" or "text".

    Raises:
        ValueError: It holds both; the message says what of each.

    Example:
        >>> kind_of("digits")
        'images'
    """
    if is_tfds(source):
        return tfds_kind(source, data_dir)
    text = os.fspath(source)
    path = Path(text)
    if text == "digits":
        return "images"
    if path.suffix.lower() in JSON_SUFFIXES and not path.is_dir():
        return "text"
    if path.suffix.lower() in SUFFIXES and path.is_file():
        return _kind_of_table(path)
    return _kind_of_folder(path) if path.is_dir() else "images"


def _kind_of_table(path: Path) -> str:
    try:
        with_paths = has_path_column(table_of(path, "a path", has_path_column, lambda table: False))
    except ValueError:
        with_paths = False
    try:
        with_texts = has_text_column(text_table(path))
    except ValueError:
        with_texts = False
    if with_paths and with_texts:
        raise ValueError(f"{path} has a column of paths and one of texts. {_OPTION}")
    return "text" if with_texts else "images"


def _kind_of_folder(root: Path) -> str:
    """The kind of the files that lie in folders: loose ones have no label."""
    counts = {kind: _inside(root, kind) for kind in (IMAGES, TEXTS)}
    if all(counts.values()):
        raise ValueError(
            f"The folders of {root} hold {counts[IMAGES]:,} images and {counts[TEXTS]:,} text files. "
            f"{_OPTION} "
            "The others are left out then."
        )
    return "text" if counts[TEXTS] else "images"


def _inside(root: Path, kind: Kind) -> int:
    tree = listed(root, kind)
    return len(tree.all_files()) - len(tree.files)
