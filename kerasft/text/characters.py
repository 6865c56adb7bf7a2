"""What becomes of each character before words are looked up: dropped, stripped, lowered, set apart."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

APART = 1 << 21
"""Added to a code point that is a word by itself: punctuation, and Chinese characters."""

ITSELF, ITSELF_APART, SPACE, DROPPED = -1, -2, -3, -4
_CODES = 0x110000
_PAGE = 256
_HANGUL = range(0xAC00, 0xD7A4)


@dataclass(frozen=True)
class CharacterTable:
    """What each code point becomes, for `tf.gather`.

    Attributes:
        pages: int32 of shape (4352,): the row of `actions` for each 256 code points.
        actions: int32 of shape (rows, 256): one of `ITSELF`, `ITSELF_APART`, `SPACE`, `DROPPED`, or a row of
            `starts`.
        starts: int32 of shape (characters,): where in `codes` the code points begin that replace it.
        counts: int32 of shape (characters,): how many these are.
        codes: int32: code points, with `APART` added where they are words by themselves.
    """

    pages: np.ndarray
    actions: np.ndarray
    starts: np.ndarray
    counts: np.ndarray
    codes: np.ndarray


@functools.lru_cache(maxsize=2)
def character_table(lower_case: bool) -> CharacterTable:
    """What BERT's normalizer and its splitting at punctuation do to each code point.

    Args:
        lower_case: Strip accents and lower letters, as models called "uncased" do.

    References:
        Hugging Face's `tokenizers`, BertNormalizer and BertPreTokenizer; `characters.json` was made by asking
        them about each code point (tests/data/make_text_characters.py).
    """
    known = json.loads(Path(__file__).with_name("characters.json").read_text(encoding="utf-8"))
    apart, marks = _members(known["cjk"] + known["punctuation"]), _members(known["marks"])
    chinese = _members(known["cjk"])
    actions = np.full(_CODES, ITSELF, "int32")
    actions[sorted(apart)] = ITSELF_APART
    replaced: dict[int, str] = {}
    if lower_case:
        actions[sorted(marks)] = DROPPED
        stripped = {ord(c): text for c, text in known["stripped"].items()}
        stripped |= {code: _jamo(code) for code in _HANGUL}
        lowered = known["lowered"]
        replaced = {ord(c): text for c, text in lowered.items()}
        replaced |= {code: "".join(lowered.get(c, c) for c in text) for code, text in stripped.items()}
    starts: list[int] = []
    counts: list[int] = []
    codes: list[int] = []
    for row, (code, text) in enumerate(replaced.items()):
        actions[code] = row
        starts.append(len(codes))
        counts.append(len(text))
        codes += [ord(c) | (APART if ord(c) in apart or code in chinese else 0) for c in text]
    actions[sorted(_members(known["spaces"]))] = SPACE
    actions[sorted(_members(known["dropped"]))] = DROPPED
    rows, pages = np.unique(actions.reshape(-1, _PAGE), axis=0, return_inverse=True)
    arrays = (pages.reshape(-1), rows, starts or [0], counts or [0], codes or [0])
    return CharacterTable(*(np.array(array, "int32") for array in arrays))


def _members(ranges: Iterable[tuple[int, int]]) -> set[int]:
    return {code for low, high in ranges for code in range(low, high + 1)}


def _jamo(code: int) -> str:
    """The letters of a Korean syllable: The Unicode Standard, section 3.12."""
    at = code - _HANGUL.start
    first, middle, last = 0x1100 + at // 588, 0x1161 + at % 588 // 28, 0x11A7 + at % 28
    return chr(first) + chr(middle) + (chr(last) if last > 0x11A7 else "")
