"""Writes versions of a file or a folder over and over, until it is killed: `killed_export.py PATH KIND`."""

import itertools
import sys
from pathlib import Path

from kerasft.export.files import replacing

SIZE = 300_000  # bytes of a version, so that a kill finds one half written


def write(path: Path, version: int) -> None:
    """A version as a file: its number, many times."""
    with path.open("wb", buffering=0) as file:
        for _ in range(10):
            file.write(f"{version:010d}".encode() * (SIZE // 100))


def main(target: Path, kind: str) -> None:
    """Write one version after another."""
    for version in itertools.count(1):
        with replacing(target, overwrite=True) as partial:
            if kind == "folder":
                partial.mkdir()
                write(partial / "a", version)
                write(partial / "b", version)
            else:
                write(partial, version)
        if version == 1:
            print("begun", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
