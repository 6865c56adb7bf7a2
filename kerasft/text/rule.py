"""The one rule by which a text becomes a model's token ids, in training and wherever the model runs."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kerasft.arguments import check_integer
from kerasft.files import parse_json, write_text
from kerasft.text.vocabulary import check_vocabulary, is_lower_case, read_vocabulary
from kerasft.text.wordpiece import WordPiece

RULE, VOCABULARY = "text.json", "vocab.txt"
_KIND = "WordPiece"


@dataclass(frozen=True)
class TextRule:
    """How a text becomes token ids: see `WordPiece`.

    Attributes:
        words: The vocabulary, by id.
        lower_case: Whether accents are stripped and letters lowered.
        length: The number of ids for each text, `[CLS]` and `[SEP]` among them.

    Raises:
        TypeError, ValueError: The vocabulary is damaged, or the length below 3.

    Example:
        >>> rule = TextRule(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "good"), length=4)
        >>> rule.tokenizer()(["Good!"])[0].numpy().tolist()
        [[2, 4, 1, 3]]
    """

    words: tuple[str, ...] = field(repr=False)
    lower_case: bool = True
    length: int = 128

    def __post_init__(self) -> None:
        check_vocabulary(self.words)
        check_integer("length", self.length, at_least=3)
        if not isinstance(self.lower_case, bool):
            raise TypeError(f"lower_case is True or False; received {self.lower_case!r}.")

    @classmethod
    def of(cls, vocabulary: str | os.PathLike[str], length: int = 128) -> TextRule:
        """The rule of a vocabulary file: its letters are lowered if the vocabulary has no capitals.

        Raises:
            FileNotFoundError, ValueError: As in `read_vocabulary`.
        """
        words = read_vocabulary(vocabulary)
        return cls(words, is_lower_case(words), length)

    def tokenizer(self) -> WordPiece:
        """A function from strings to token ids, by operations of TensorFlow."""
        return WordPiece(self.words, lower_case=self.lower_case, length=self.length)

    def to_dict(self) -> dict[str, Any]:
        """The rule for a report, without the words: they are in `vocab.txt`."""
        return {
            "kind": _KIND,
            "vocabulary": VOCABULARY,
            "words": len(self.words),
            "lower_case": self.lower_case,
            "length": self.length,
        }

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write `text.json` and `vocab.txt` into a folder."""
        where = Path(folder)
        write_text(where / VOCABULARY, "\n".join(self.words) + "\n")
        write_text(where / RULE, json.dumps(self.to_dict(), indent=1) + "\n")

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> TextRule:
        """Read what `save` has written.

        Raises:
            FileNotFoundError: One of the two files is missing.
            ValueError: One is damaged, or they don't belong together.
        """
        path = Path(folder) / RULE
        content = parse_json(path.read_text(encoding="utf-8"), f"The rule {path}")
        words = read_vocabulary(path.with_name(VOCABULARY))
        given = content if isinstance(content, dict) else {}
        try:
            rule = cls(words, given["lower_case"], given["length"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is no rule for text: {error}") from None
        if rule.to_dict() != content:
            raise ValueError(f"{path} says {content}; by the {VOCABULARY} beside it, it is {rule.to_dict()}.")
        return rule
