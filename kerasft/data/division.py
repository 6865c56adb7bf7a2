"""Pictures divided into training, validation and test pictures, each by its own hash."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kerasft.data.source import Labelled
from kerasft.data.split import PARTS, Split

TRAIN, VALIDATION, TEST = range(3)
OUT = -1  # a row that is in no part
_SHOWN = 3
_FEW = 10  # classes that an error names


@dataclass(frozen=True)
class Division:
    """The part of each row of a source, the record of it, and what has to be said about it."""

    parts: np.ndarray
    split: Split
    notes: tuple[str, ...]


def place(digest: str) -> float:
    """The place of a picture in 0…1, from the first 52 bits of its sha256.

    Example:
        >>> place("8" + 63 * "0")
        0.5
    """
    return int(digest[:13], 16) / 16**13


def divide(
    source: Labelled, validation_fraction: float, test_fraction: float, split: Split | None = None
) -> Division:
    """Give each picture its part: see `load_dataset`."""
    known = {} if split is None else split.parts
    wanted = [part for part in (TEST, VALIDATION) if not np.any(source.parts == part)]
    bounds = {TEST: test_fraction if TEST in wanted else 0.0}
    rest = (1 - bounds[TEST]) * validation_fraction if VALIDATION in wanted else 0.0
    bounds[VALIDATION] = bounds[TEST] + rest

    own: dict[str, int] = {}
    for digest, part in zip(source.digests, source.parts.tolist(), strict=True):
        own[digest] = max(part, own.get(digest, TRAIN))
    chosen = {digest: _chosen(digest, part, known, bounds) for digest, part in own.items()}
    if wanted:
        _fill(source, chosen, {d for d, part in own.items() if part == TRAIN and d not in known}, wanted)
    parts = np.array([chosen[digest] for digest in source.digests], int)
    pairs = zip(source.digests, source.parts.tolist(), strict=True)
    copies = np.array([part != own[d] and d not in known for d, part in pairs], bool)
    parts[copies] = OUT
    notes = [*_leaks(source, copies), *_moved(source, known), *_contradictions(source)]
    for c, name in enumerate(source.class_names):
        if np.any(source.labels == c) and not np.any(parts[source.labels == c] == TRAIN):
            raise ValueError(
                f"No {source.kind.one} is left to train the class {name!r}: each is a copy of one that "
                f"is held out."
            )
    record = Split({**known, **{digest: PARTS[part] for digest, part in chosen.items()}})
    return Division(parts, record, tuple(notes))


def limited(source: Labelled, parts: np.ndarray, limit: int | None, seed: int) -> np.ndarray:
    """The parts of about `limit` pictures, the same number of each class in a part; the others are in none.

    Which ones, the seed and their hashes say: a picture stays in the part that it has without a limit.
    """
    if limit is None or limit >= np.count_nonzero(parts != OUT):
        return parts
    classes = len(source.class_names)
    if limit < 2 * classes:
        raise ValueError(f"limit={limit} is too few for {classes} classes.")
    kept = np.full_like(parts, OUT)
    drawn = [hashlib.sha256(f"{seed}:{digest}".encode()).digest() for digest in source.digests]
    order = np.array(sorted(range(len(parts)), key=lambda row: (drawn[row], row)))
    for part in (TRAIN, VALIDATION, TEST):
        share = max(1, round(limit * float(np.count_nonzero(parts == part) / np.count_nonzero(parts != OUT))))
        for c in range(classes):
            rows = order[(parts[order] == part) & (source.labels[order] == c)]
            kept[rows[: max(1, round(share / classes))]] = part
    return kept


def _chosen(digest: str, own: int, known: Mapping[str, str], bounds: dict[int, float]) -> int:
    """The part of a picture by the record, by the source, or by its hash."""
    if digest in known:
        return PARTS.index(known[digest])
    if own != TRAIN:
        return own
    at = place(digest)
    return TEST if at < bounds[TEST] else VALIDATION if at < bounds[VALIDATION] else TRAIN


def _fill(source: Labelled, chosen: dict[str, int], free: set[str], wanted: list[int]) -> None:
    """Give each class a picture of each part, where its hashes have given it none, in the order of hashes."""
    classes: dict[str, set[int]] = defaultdict(set)
    for digest, label in zip(source.digests, source.labels.tolist(), strict=True):
        classes[digest].add(label)
    members: list[list[str]] = [[] for _ in source.class_names]
    for digest in sorted(classes, key=lambda d: (place(d), d)):
        for label in classes[digest]:
            members[label].append(digest)
    few = []
    for label, digests in enumerate(members):
        movable = [d for d in digests if d in free and len(classes[d]) == 1]
        groups = {part: [d for d in digests if chosen[d] == part] for part in (TEST, VALIDATION, TRAIN)}
        for part in [part for part in (*wanted, TRAIN) if not groups[part]]:
            giving = [g for g in (TRAIN, VALIDATION, TEST) if len(groups[g]) > 1]
            spare = [d for g in giving for d in movable if chosen[d] == g]
            if not spare:
                few.append(source.class_names[label])
                break
            moved = spare[-1] if part == TRAIN else spare[0]
            groups[chosen[moved]].remove(moved)
            groups[part].append(moved)
            chosen[moved] = part
    if few:
        more = f" and {len(few) - _FEW:,} more" if len(few) > _FEW else ""
        raise ValueError(
            f"Too few {source.kind.many} to divide them: the classes {few[:_FEW]}{more} have fewer than "
            f"{1 + len(wanted)} different ones: one for training, and one for each part that is held out. "
            f"Add {source.kind.many}, or leave these classes out."
        )


def _leaks(source: Labelled, copies: np.ndarray) -> list[str]:
    count = int(np.count_nonzero(copies))
    if not count:
        return []
    return [
        f"{count:,} {source.kind.many} of the source's own training or validation part are in a part "
        f"that is held out "
        f"as well, to the byte ({_examples(source, copies)}). They are used there alone: else the model "
        "would be tested on what it has learnt."
    ]


def _moved(source: Labelled, known: Mapping[str, str]) -> list[str]:
    held = len(set(np.unique(source.parts).tolist())) > 1
    pairs = zip(source.digests, source.parts.tolist(), strict=True)
    count = sum(held and d in known and known[d] != PARTS[part] for d, part in pairs)
    if not count:
        return []
    many = source.kind.many
    return [f"{count:,} {many} have the part that the given split says, not that of their folder."]


def _contradictions(source: Labelled) -> list[str]:
    """Copies of one picture under several labels."""
    labels: dict[str, int] = {}
    pairs = zip(source.digests, source.labels.tolist(), strict=True)
    torn = {digest for digest, label in pairs if labels.setdefault(digest, label) != label}
    if not torn:
        return []
    twice = np.array([digest in torn for digest in source.digests])
    return [
        f"{len(torn):,} {source.kind.many} have two labels: copies, equal to the byte, are in several "
        f"classes "
        f"({_examples(source, twice)}). Remove the wrong ones."
    ]


def _examples(source: Labelled, rows: np.ndarray) -> str:
    """The first few of the rows: their files, or their numbers."""
    found = np.flatnonzero(rows)
    shown = [source.names[row] if source.names else f"number {row}" for row in found[:_SHOWN]]
    return ", ".join(shown) + (", …" if len(found) > _SHOWN else "")
