"""Which picture is for training, for validation and for the test: a record that outlives the run."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kerasft.files import parse_json, write_text

PARTS = ("train", "validation", "test")
VERSION = 1
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Split:
    """The part of each picture, by the sha256 of its file's bytes.

    The names, folders and order of the files do not matter, nor do seeds. Pictures without a file of their
    own (digits, TFDS) are known by the sha256 of their pixels.

    Attributes:
        parts: "train", "validation" or "test" for each sha256, in hexadecimal digits.

    Raises:
        TypeError: `parts` is no mapping of texts.
        ValueError: A key is no sha256, or a value is no part.

    Example:
        >>> split = Split({"0" * 64: "train", "1" * 64: "test"})
        >>> split.counts
        {'train': 1, 'validation': 0, 'test': 1}
        >>> len(split.overlap(Split({"0" * 64: "test"})))
        1
    """

    parts: Mapping[str, str]

    def __post_init__(self) -> None:
        if not isinstance(self.parts, Mapping):
            kind = type(self.parts).__name__
            raise TypeError(f"The parts of a Split are a mapping of a sha256 to a part; received {kind}.")
        for digest, part in self.parts.items():
            if not isinstance(digest, str) or not isinstance(part, str):
                raise TypeError(f"A Split maps texts to texts; received {digest!r}: {part!r}.")
            if not _DIGEST.fullmatch(digest):
                raise ValueError(f"A Split knows pictures by 64 hexadecimal digits; received {digest!r}.")
            if part not in PARTS:
                raise ValueError(f"There is no part {part!r}. There are {', '.join(PARTS)}.")

    def __len__(self) -> int:
        return len(self.parts)

    @property
    def counts(self) -> dict[str, int]:
        """How many different pictures each part has."""
        found = Counter(self.parts.values())
        return {part: found[part] for part in PARTS}

    def overlap(self, other: Split) -> frozenset[str]:
        """The test pictures of another split that are no test pictures here.

        If this is the split of a run, its model has trained on them, or was chosen by them: what it reaches
        on them says nothing about new pictures.

        Args:
            other: The split of the data that are to be tested on.

        Returns:
            Their sha256.
        """
        tested = (digest for digest, part in other.parts.items() if part == "test")
        return frozenset(digest for digest in tested if self.parts.get(digest, "test") != "test")

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write the split into a file, which is whole whenever it is there."""
        lists: dict[str, list[str]] = {part: [] for part in PARTS}
        for digest in sorted(self.parts):
            lists[self.parts[digest]].append(digest)
        write_text(path, json.dumps({"version": VERSION, "hash": "sha256", **lists}, indent=0) + "\n")

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> Split:
        """Read what `to_json` has written.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is no split, or damaged; the message says what is wrong.
        """
        what = f"The split {os.fspath(path)}"
        content = parse_json(Path(path).read_text(encoding="utf-8"), what)
        keys = ["version", "hash", *PARTS]
        if not isinstance(content, dict) or set(content) != set(keys):
            received = sorted(content) if isinstance(content, dict) else type(content).__name__
            raise ValueError(f"{what} is a JSON object with {', '.join(keys)}; received {received}.")
        made = (content["version"], content["hash"])
        if made != (VERSION, "sha256") or isinstance(content["version"], bool):
            raise ValueError(
                f"{what} has version {made[0]!r} and hash {made[1]!r}; this kerasft reads version {VERSION} "
                "with sha256. Read it with the kerasft that wrote it."
            )
        parts: dict[str, str] = {}
        for part in PARTS:
            if not isinstance(content[part], list):
                raise ValueError(f"{what}: {part} is a list of sha256; received {content[part]!r}.")
            for digest in content[part]:
                if not isinstance(digest, str) or digest in parts:
                    reason = "in two places" if isinstance(digest, str) else "no text"
                    raise ValueError(f"{what}: {digest!r} in {part} is {reason}.")
                parts[digest] = part
        try:
            return cls(parts)
        except ValueError as error:
            raise ValueError(f"{what} is damaged: {error}") from None
