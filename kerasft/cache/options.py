"""The arguments of PrefixCache, checked."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any


def _writable(folder: Any) -> Path:
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


def _free_disk(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize
