"""The arguments of PrefixCache, checked."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

from kerasft.arguments import check_integer


def check_options(
    max_bytes: int | None, dtype: str, augmented_views: int, keep: bool, folder: Path | None
) -> None:
    """Raise unless the arguments of PrefixCache are what they should be.

    Raises:
        TypeError, ValueError: Names the one that is wrong, and what it can be.
    """
    if max_bytes is not None:
        check_integer("max_bytes", max_bytes, at_least=1)
    check_integer("augmented_views", augmented_views, at_least=1)
    if dtype not in ("float32", "float16"):
        raise ValueError(
            f'dtype is "float32" or "float16", not {dtype!r}: it is that of the recorded values, which '
            "are floats; labels and weights of samples are kept as they are."
        )
    if keep and folder is None:
        raise ValueError('keep=True needs a folder: PrefixCache("records", keep=True).')


def writable_folder(folder: Any) -> Path:
    """Return the folder that `storage` names, made if it is missing.

    Raises:
        TypeError: It is not a name.
        ValueError: It seems to mean something else, or can't be written.
    """
    if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
        raise TypeError(f'storage is "auto", "memory" or a folder, not {folder!r}.')
    path = Path(folder)
    meant = difflib.get_close_matches(str(folder).lower(), ("auto", "memory"), 1)
    if meant and isinstance(folder, str) and "/" not in folder and not path.exists():
        raise ValueError(
            f'storage is "auto", "memory" or a folder; is {folder!r} "{meant[0]}"? A folder of that name is '
            f'"./{folder}".'
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(
            f"PrefixCache can't write into the folder {path}: {error}. Name another one, or use "
            'storage="auto".'
        ) from None
    return path


def free_disk(folder: Path) -> int:
    """Count the bytes that are free where a folder is."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize
