"""The files and folders of a data set, as they lie on disk."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from kerasft.data.pictures import suffixes

_NOISE = {"thumbs.db", "desktop.ini", "__macosx", "__pycache__", "icon\r"}


@dataclass(frozen=True)
class Kind:
    """A kind of data.

    Attributes:
        one: What a file holds.
        many: What several hold.
        suffixes: How the names of the files end that are read.
    """

    one: str
    many: str
    suffixes: frozenset[str]


IMAGES = Kind("image", "images", frozenset(suffixes()))
TEXTS = Kind("text", "texts", frozenset({".txt", ".text"}))


@dataclass
class Folder:
    """A folder with what lies in it, hidden files and what systems leave behind left aside.

    Attributes:
        path: Where it is.
        kind: The kind of data.
        files: Files whose names end as those of that kind.
        others: Other files.
        folders: Its folders, by name.
    """

    path: Path
    kind: Kind = IMAGES
    files: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    folders: list[Folder] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.name

    def walk(self) -> Iterable[Folder]:
        """The folder, and all below it."""
        yield self
        for folder in self.folders:
            yield from folder.walk()

    def all_files(self) -> list[Path]:
        """Its files of the kind, and those of all folders below it."""
        return [path for folder in self.walk() for path in folder.files]

    def all_others(self) -> list[Path]:
        """Its other files, and those of all folders below it."""
        return [path for folder in self.walk() for path in folder.others]


def listed(root: Path, kind: Kind = IMAGES, above: tuple[str, ...] = ()) -> Folder:
    """List a folder, links followed; one that leads back to a folder above it is left out."""
    found = Folder(root, kind)
    above = (*above, os.path.realpath(root))
    for path in sorted(root.iterdir()):
        if path.name.startswith(".") or path.name.lower() in _NOISE:
            continue
        if path.is_dir():
            if os.path.realpath(path) not in above:
                found.folders.append(listed(path, kind, above))
        elif path.suffix.lower() in kind.suffixes:
            found.files.append(path)
        else:
            found.others.append(path)
    return found


def kinds_of(paths: Iterable[Path]) -> str:
    """How many files there are of which kind.

    Example:
        >>> kinds_of([Path("a.heic"), Path("b.txt"), Path("c.HEIC"), Path("README")])
        '2 .heic, 1 .txt, 1 without a suffix'
    """
    counts = Counter(path.suffix.lower() for path in paths)
    return ", ".join(f"{n:,} {suffix or 'without a suffix'}" for suffix, n in counts.most_common())
