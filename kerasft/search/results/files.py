"""Files that are whole whenever they are there."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write a file that is whole whenever it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{partial_name()}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def partial_name() -> str:
    """What no other process uses in the name of a file, on this machine or another."""
    return f"{socket.gethostname()}-{os.getpid()}"
