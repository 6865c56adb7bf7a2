"""Put neighbouring pieces of a network together into its blocks, by the names of their layers."""

from __future__ import annotations

import collections
import itertools
import re
from collections.abc import Collection, Hashable, Sequence

_NUMBERED = re.compile(r"[A-Za-z]*\d+[a-z]?")
_DIMENSION = re.compile(r"[A-Za-z]*[123]d")


def _prefixes(name: str) -> list[str]:
    """Prefixes of a layer's path that end in a number: `conv2_block1_1_conv` → conv2, conv2_block1, …"""
    found = []
    for token in re.finditer(r"[^/_.\-]+", name):
        if _NUMBERED.fullmatch(token.group()) and not _DIMENSION.fullmatch(token.group()):
            found.append(name[: token.end()])
    return found


def _shared(names: Sequence[str]) -> list[str]:
    """The numbered prefixes that most of a piece's layers share, shortest first."""
    counts = collections.Counter(p for name in set(names) for p in _prefixes(name))
    return sorted((p for p, n in counts.items() if 2 * n > len(set(names))), key=len)


def _words(names: Sequence[str]) -> str:
    """The common leading words of several names, or an empty string."""
    letters = zip(*(f"{name}_" for name in names), strict=False)
    prefix = "".join(c[0] for c in itertools.takewhile(lambda c: len(set(c)) == 1, letters))
    return re.sub(r"[/_.\-]+[^/_.\-]*$", "", prefix)


def block_depth(units: Sequence[Sequence[str]]) -> int | None:
    """How deep numbers nest in the names of blocks: `block_3` 1, `conv2_block3` 2; None if nothing tells.

    Args:
        units: For each residual unit or the like the names of its layers.
    """
    found = [p for p in map(_shared, units) if p]
    return _most_common_length(found) if found else None


def holds_two_blocks(names: Sequence[str], depth: int | None) -> bool:
    """Whether some layers with kernels belong to more than one block, each with two of them at least.

    Args:
        names: Their names.
        depth: As `block_depth` gives it.
    """
    if depth is None:
        return False
    blocks = collections.Counter(p[depth - 1] for name in names if len(p := _prefixes(name)) >= depth)
    return sum(count > 1 for count in blocks.values()) > 1


def _most_common_length(prefixes: Sequence[Sequence[str]]) -> int:
    lengths = collections.Counter(map(len, prefixes))
    return lengths.most_common(1)[0][0] if lengths else 1


def group_blocks(
    names: Sequence[Sequence[str]],
    kernels: Sequence[int],
    units: Sequence[bool] | None = None,
    kinds: Sequence[Hashable] | None = None,
) -> list[tuple[str, range]]:
    """Put neighbouring pieces of a network together into its blocks (residual units and the like).

    Args:
        names: For each piece, in order, the paths of its layers.
        kernels: For each piece, how many of its weights have two or more axes. A piece without any
            (a normalization) joins the piece before it.
        units: For each piece, whether it can be a whole unit: a shortcut around several layers, or a layer
            that is made of others. None: those with several names.
        kinds: For each piece what tells its structure, None if it can't be a part of a repeated block. Where
            names tell no blocks, pieces of different kinds that come again in the same order, such as
            attention and feed-forward, are one block.

    Returns:
        One (name, range of pieces) for each block, in order.
    """
    prefixes = [_shared(piece) for piece in names]
    units = [len(set(piece)) > 1 for piece in names] if units is None else units
    # How deep numbers nest in this network's names (block_3: 1, conv2_block3: 2) shows in the pieces
    # that hold a whole unit, and so several kernels.
    whole = [p for p, k, unit in zip(prefixes, kernels, units, strict=True) if p and k > 1 and unit]
    depth = _most_common_length(whole)
    labels = [p[min(depth, len(p)) - 1] if p else None for p in prefixes]
    has_blocks = sum(n > 1 for n in collections.Counter(filter(None, labels)).values()) + len(
        {len(p) for p in whole}
    )

    blocks: list[list[int]] = []
    for i, label in enumerate(labels):
        if blocks:
            last = labels[blocks[-1][-1]]
            same = label is not None and label in (last, labels[blocks[-1][0]])
            words = _words([n for j in (blocks[-1][-1], i) for n in names[j]])
            # a whole unit and what lies beside it in one layer, such as encoder/first, encoder/second
            apart = (units[i] or units[blocks[-1][-1]]) and names[i][0].startswith(f"{words}/")
            sibling = has_blocks and label is last is None and words and not apart
            if same or sibling or (not kernels[i] and (label is None or label not in labels[i + 1 :])):
                blocks[-1].append(i)
                continue
        blocks.append([i])
    if len(blocks) > 1 and not any(kernels[i] for i in blocks[0]):
        blocks[:2] = [blocks[0] + blocks[1]]

    if kinds is not None:
        marks = [kinds[i] if labels[i] is None else None for i in range(len(labels))]
        mains = [next((i for i in block if kernels[i]), block[0]) for block in blocks]
        joined = _repeated([marks[i] for i in mains])
        blocks = [[i for block in blocks[a:b] for i in block] for a, b in joined]

    titles = []
    for block in blocks:
        main = next((i for i in block if kernels[i]), block[0])
        titles.append(labels[main] or _words([n for i in block for n in names[i]]) or names[main][0])
    return [(title, range(block[0], block[-1] + 1)) for title, block in zip(titles, blocks, strict=True)]


def _repeated(kinds: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Ranges that divide a sequence: those that repeat a pattern of different kinds, and single ones."""
    ranges: list[tuple[int, int]] = []
    i = 0
    while i < len(kinds):
        length = next((n for n in range(2, (len(kinds) - i) // 2 + 1) if _repeats(kinds, i, n)), 1)
        ranges.append((i, i + length))
        i += length
        while length > 1 and kinds[i : i + length] == kinds[i - length : i]:
            ranges.append((i, i + length))
            i += length
    return ranges


def _repeats(kinds: Sequence[Hashable], begin: int, length: int) -> bool:
    """Whether a pattern of different kinds begins here, and comes at least twice."""
    pattern = kinds[begin : begin + length]
    again = kinds[begin + length : begin + 2 * length]
    return pattern == again and None not in pattern and len(set(pattern)) > 1


def unique_names(
    names: Sequence[str], foreign: Sequence[Collection[str]] = (), outside: Sequence[Collection[str]] = ()
) -> list[str]:
    """Make names unique: the second and later uses of a name get a number that no other name has.

    Args:
        names: The names in order.
        foreign: For each name, what it can't be because it means something else; it gets a number, too.
        outside: For each name, what it can't be with a number.
    """
    taken: set[str] = set()
    unique = []
    for i, name in enumerate(names):
        barred = taken.union(names, *outside[i : i + 1])
        later = (f"{name}_{n}" for n in itertools.count(2))
        free = name not in taken and not (foreign and name in foreign[i])
        new = name if free else next(n for n in later if n not in barred)
        taken.add(new)
        unique.append(new)
    return unique
