"""How a text becomes the token ids that a file takes: what a client has to do, and what the checks do."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .wordpiece import pieces_of, words_of

_MARKS = ("padding", "unknown", "start", "end")


@dataclass(frozen=True)
class Encoded:
    """A text as token ids.

    Attributes:
        tokens: The tokens of the text between the marks, as far as they fit.
        ids: All ids, with the marks and the padding, of the length that the file takes.
        unknown: The words that the vocabulary can't make, in their order.
        cut: How many tokens did not fit.
    """

    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    unknown: tuple[str, ...]
    cut: int


@dataclass(frozen=True)
class Text:
    """WordPiece from a vocabulary, as BERT's models take it: what lies between a text and token ids.

    Attributes:
        vocabulary: The tokens in the order of their ids, or the path of a file with one a line (UTF-8).
        sequence_length: How many ids a text becomes, with the marks: longer are cut, shorter padded.
        lower_case: Whether text is lowered.
        strip_accents: Whether accents are taken off; None for as `lower_case`, as BERT's models do.
        ids: Name of the model's input of token ids.
        mask: Name of that which is 1 for tokens and 0 for padding; None if there is none.
        types: Name of that with the number of the segment, which is 0; None if there is none.
        padding, unknown, start, end: The marks. `start` and `end` may be "", for none.

    Raises:
        TypeError, ValueError: The vocabulary can't be read, lacks a mark, or has a token twice.
        OSError: The file can't be read.

    Example:
        >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "film", "##s"]
        >>> text = Text(words, sequence_length=6, ids="token_ids", mask="padding_mask")
        >>> text.encode(["Good films!"])["token_ids"].tolist()
        [[2, 4, 5, 6, 1, 3]]
    """

    vocabulary: Sequence[str] | str | os.PathLike[str]
    sequence_length: int
    lower_case: bool = True
    strip_accents: bool | None = None
    ids: str = "ids"
    mask: str | None = None
    types: str | None = None
    padding: str = "[PAD]"
    unknown: str = "[UNK]"
    start: str = "[CLS]"
    end: str = "[SEP]"
    _numbers: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        tokens = _vocabulary(self.vocabulary)
        numbers: dict[str, int] = {}
        for number, token in enumerate(tokens):
            if not isinstance(token, str):
                raise TypeError(f"A vocabulary is a list of strings; token {number} is {token!r}.")
            if not token or "\n" in token:
                raise ValueError(
                    f"A vocabulary has one token a line, none of them empty; token {number} is {token!r}."
                )
            if numbers.setdefault(token, number) != number:
                raise ValueError(
                    f"A vocabulary has each token once; {token!r} has the ids {numbers[token]} and {number}."
                )
        for mark in _MARKS:
            token = getattr(self, mark)
            if token not in numbers and not (mark in ("start", "end") and token == ""):
                raise ValueError(
                    f"The vocabulary of {len(tokens):,} tokens has no {mark} token {token!r}; it begins with "
                    f"{tokens[:5]}. Say which it is by {mark}=…"
                    + (', or that there is none by "".' if mark in ("start", "end") else ".")
                )
        least = 1 + bool(self.start) + bool(self.end)
        if isinstance(self.sequence_length, bool) or not isinstance(self.sequence_length, int):
            raise TypeError(f"sequence_length is a number of tokens; received {self.sequence_length!r}.")
        if self.sequence_length < least:
            raise ValueError(
                f"sequence_length counts the marks, too, and is {least} or more; received "
                f"{self.sequence_length}."
            )
        names = [name for name in (self.ids, self.mask, self.types) if name is not None]
        if len(set(names)) != len(names):
            raise ValueError(f"ids, mask and types are names of different inputs; received {names}.")
        object.__setattr__(self, "vocabulary", tokens)
        object.__setattr__(self, "_numbers", numbers)
        if self.strip_accents is None:
            object.__setattr__(self, "strip_accents", self.lower_case)

    @property
    def tokens(self) -> tuple[str, ...]:
        """The vocabulary."""
        return tuple(map(str, self.vocabulary))  # type: ignore[arg-type]

    def explain(self, text: str) -> Encoded:
        """A text as token ids, with what was unknown and what did not fit.

        Raises:
            TypeError, ValueError: It is no string, or none that UTF-8 can hold.
        """
        words = words_of(_checked(text), lower_case=self.lower_case, strip_accents=bool(self.strip_accents))
        tokens: list[str] = []
        unknown: list[str] = []
        for word in words:
            pieces = pieces_of(word, self._numbers)
            tokens += pieces or [self.unknown]
            if not pieces:
                unknown.append(word)
        room = self.sequence_length - bool(self.start) - bool(self.end)
        kept = tokens[:room]
        marked = [t for t in (self.start, *kept, self.end) if t]
        ids = [self._numbers[t] for t in marked]
        ids += [self._numbers[self.padding]] * (self.sequence_length - len(ids))
        return Encoded(tuple(kept), tuple(ids), tuple(unknown), len(tokens) - len(kept))

    def encode(self, texts: Iterable[Any]) -> dict[str, np.ndarray]:
        """Texts as the inputs of the model, each of shape (texts, sequence_length), int32.

        Raises:
            TypeError, ValueError: One is no string, or none that UTF-8 can hold; the message names it.
        """
        rows, lengths = [], []
        for number, text in enumerate(_flat(texts)):
            try:
                found = self.explain(text)
            except (TypeError, ValueError) as error:
                raise type(error)(f"Text {number}: {error}") from None
            rows.append(found.ids)
            lengths.append(len(found.tokens) + bool(self.start) + bool(self.end))
        ids = np.array(rows, "int32").reshape(-1, self.sequence_length)
        made = {self.ids: ids}
        if self.mask is not None:
            made[self.mask] = (np.arange(self.sequence_length) < np.array(lengths)[:, None]).astype("int32")
        if self.types is not None:
            made[self.types] = np.zeros_like(ids)
        return made

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON has them; `Text(**fields)` is the inverse."""
        return {
            name: list(self.tokens) if name == "vocabulary" else getattr(self, name)
            for name in self.__dataclass_fields__
            if not name.startswith("_")
        }


def check_text(text: Text | None) -> Text | None:
    """The rule for texts; raises TypeError unless it is one."""
    if text is not None and not isinstance(text, Text):
        raise TypeError(
            "text is kerasft.export.Text(vocabulary, sequence_length, …), which says how strings become "
            f"token ids; received {type(text).__name__}."
        )
    return text


def _vocabulary(given: Any) -> tuple[Any, ...]:
    if isinstance(given, str | os.PathLike):
        path = Path(given)
        if not path.is_file():
            raise FileNotFoundError(f"There is no vocabulary at {path}: a file with one token a line.")
        try:
            lines = path.read_bytes().decode("utf-8-sig").split("\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"The vocabulary {path} is no UTF-8: {error}. Save it as UTF-8.") from None
        lines = [line.removesuffix("\r") for line in lines]
        return tuple(lines[:-1] if lines[-1] == "" else lines)
    if isinstance(given, Mapping | Set | bytes) or not isinstance(given, Iterable):
        raise TypeError(
            "vocabulary is a list of tokens in the order of their ids, or the path of a file with one a "
            f"line; received {type(given).__name__}."
        )
    return tuple(given)


def _flat(texts: Any) -> list[Any]:
    """Texts as a list: those of a list, an array or a tensor of one axis."""
    if isinstance(texts, str | bytes):
        raise TypeError("Texts come in a list, also one alone: [text].")
    array = texts.numpy() if hasattr(texts, "numpy") else texts
    if isinstance(array, np.ndarray):
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim != 1:
            raise ValueError(f"Texts have one axis, that of the batch; received the shape {array.shape}.")
        return list(array.tolist())
    return list(array)


def _checked(text: Any) -> str:
    if isinstance(text, bytes):
        try:
            return text.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{text[:40]!r} is no UTF-8: {error}.") from None
    if not isinstance(text, str):
        raise TypeError(f"a text is a string; received {text!r} of {type(text).__name__}.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{text[:40]!r} can't be written in UTF-8: {error.reason}.") from None
    return text
