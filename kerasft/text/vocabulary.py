"""A WordPiece vocabulary: a file with a word in each line, whose number is the word's id."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

PAD, UNKNOWN, BEGIN, END = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_SHOWN = 3
_FEW = 5


def read_vocabulary(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read the words of a vocabulary, such as BERT's `vocab.txt`.

    Args:
        path: A UTF-8 file with a word in each line; the first has the id 0.

    Returns:
        The words, by id.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such vocabulary; the message names the lines.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"There is no vocabulary {file}: a file such as BERT's vocab.txt.")
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} is no vocabulary, a word in each line: it is no UTF-8 text (byte {error.start:,})."
        ) from None
    if text.lstrip().startswith("{"):
        raise ValueError(
            f"{file} is JSON, and no vocabulary with a word in each line. Give the vocab.txt beside it; a "
            "tokenizer that has none (BPE, SentencePiece) can't be read."
        )
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if lines and not lines[-1]:
        lines.pop()
    return check_vocabulary(lines, str(file))


def check_vocabulary(words: Sequence[str], what: str = "The vocabulary") -> tuple[str, ...]:
    """Return the words, or raise a ValueError that names what is wrong with them, counting lines from 1."""
    lines: dict[str, int] = {}
    empty, twice = [], []
    for number, word in enumerate(words, 1):
        if not isinstance(word, str):
            raise TypeError(f"{what} holds texts; word {number} is {word!r}.")
        if not word:
            empty.append(str(number))
        elif lines.setdefault(word, number) != number:
            twice.append(f"{word!r} in the lines {lines[word]} and {number}")
    if empty:
        raise ValueError(f"{what} has no word in the lines {_some(empty)}. The id of a word is its line.")
    if twice:
        raise ValueError(f"{what} holds words twice: {_some(twice)}. Which id they have can't be told.")
    missing = [word for word in SPECIAL if word not in lines]
    if missing:
        raise ValueError(
            f"{what} has {len(words):,} words, and not {', '.join(missing)}, which BERT's WordPiece needs. "
            f"It begins with {', '.join(map(repr, words[:_FEW]))}."
        )
    return tuple(words)


def is_lower_case(words: Sequence[str]) -> bool:
    """Whether a vocabulary was made of lower-case text: whether no word of it has a capital.

    Example:
        >>> is_lower_case(["[UNK]", "the", "##s"]), is_lower_case(["[UNK]", "the", "The"])
        (True, False)
    """
    return all(word == word.lower() or (word[0] == "[" and word[-1] == "]") for word in words)


def check_fits(words: Sequence[str], rows: int, what: str = "The encoder") -> None:
    """Raise unless a vocabulary has as many words as an embedding has rows.

    Args:
        words: The vocabulary.
        rows: The number of rows of the embedding.
        what: What has the embedding, for the message.

    Raises:
        ValueError: It has more or fewer.
    """
    if len(words) != rows:
        raise ValueError(
            f"The vocabulary has {len(words):,} words, and {what} has {rows:,} embeddings: it belongs to "
            "another model. Give the vocabulary that the model was trained with."
        )


def _some(found: Sequence[str]) -> str:
    return ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else "")
