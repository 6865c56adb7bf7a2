"""WordPiece as BERT splits text: clean, pad ideographs, strip accents, lower, split, and match greedily.

The same steps stand in web/wordpiece.js for the page. Marks such as [SEP] in a text are text like any other.

References:
    Devlin et al. (2019), arXiv:1810.04805; https://github.com/google-research/bert, tokenization.py.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping

_LONGEST = 100  # characters of a word; a longer one is unknown
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


def words_of(text: str, *, lower_case: bool, strip_accents: bool) -> Iterator[str]:
    """The words and punctuation marks of a text, in their order.

    Example:
        >>> list(words_of("Déjà-vu!", lower_case=True, strip_accents=True))
        ['deja', '-', 'vu', '!']
    """
    cleaned = "".join(
        " " if _is_space(c) else f" {c} " if _is_ideograph(c) else c for c in text if not _is_dropped(c)
    )
    if strip_accents:
        cleaned = "".join(c for c in unicodedata.normalize("NFD", cleaned) if unicodedata.category(c) != "Mn")
    if lower_case:
        cleaned = "".join(c.lower() for c in cleaned)  # by character: a sigma at a word's end is none other
    word = ""
    for c in f"{cleaned} ":
        if not (space := _is_space(c)) and not _is_mark(c):
            word += c
            continue
        if word:
            yield word
            word = ""
        if not space:
            yield c


def pieces_of(word: str, ids: Mapping[str, int]) -> list[str]:
    """The longest pieces of a word that a vocabulary has, from left to right; [] if it can't be made of them.

    Example:
        >>> pieces_of("longer", {"long": 0, "##er": 1})
        ['long', '##er']
    """
    if len(word) > _LONGEST:
        return []
    pieces: list[str] = []
    begin = 0
    while begin < len(word):
        prefix = "##" if begin else ""
        end = next((e for e in range(len(word), begin, -1) if prefix + word[begin:e] in ids), None)
        if end is None:
            return []
        pieces.append(prefix + word[begin:end])
        begin = end
    return pieces


def _is_dropped(c: str) -> bool:
    """Whether a character is NUL, the replacement character, or a control one that is no blank."""
    if c in "\t\n\r":
        return False
    return c == "\ufffd" or unicodedata.category(c) in ("Cc", "Cf", "Co", "Cs")


def _is_space(c: str) -> bool:
    return c in "\t\n\r" or unicodedata.category(c) in ("Zs", "Zl", "Zp")


def _is_mark(c: str) -> bool:
    return unicodedata.category(c)[0] == "P" or c in "$+<=>^`|~"


def _is_ideograph(c: str) -> bool:
    return any(low <= ord(c) <= high for low, high in _IDEOGRAPHS)
