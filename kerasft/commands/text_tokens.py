"""From strings to the inputs of a text encoder: by a vocabulary, a second SavedModel, or a KerasHub "
"preset."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from kerasft.data import TextData
from kerasft.export import Text
from kerasft.hub import check_saved_model, resolve
from kerasft.text import TextRule, WordPiece

IDS, MASK, TYPES = "ids", "mask", "types"
_ROLES = {
    IDS: ("input_word_ids", "token_ids", "input_ids", "word_ids", "ids", "tokens"),
    MASK: ("input_mask", "padding_mask", "attention_mask", "mask"),
    TYPES: ("input_type_ids", "segment_ids", "token_type_ids", "type_ids"),
}
_BESIDE = ("vocab.txt", "assets/vocab.txt", "assets/tokenizer/vocabulary.txt")


def roles_of(names: Sequence[str]) -> dict[str, str]:
    """What the inputs of an encoder are: the names for ids, mask and types.

    Raises:
        ValueError: An input is none of these; lists the names that are known.

    Example:
        >>> roles_of(["token_ids", "padding_mask"])
        {'ids': 'token_ids', 'mask': 'padding_mask'}
    """
    found = {role: [name for name in names if name in known] for role, known in _ROLES.items()}
    unknown = [name for name in names if not any(name in known for known in _ROLES.values())]
    if not unknown and len(found[IDS]) == 1 and all(len(given) <= 1 for given in found.values()):
        return {role: given[0] for role, given in found.items() if given}
    if len(names) == 1:
        return {IDS: names[0]}
    known = "; ".join(f"{role}: {', '.join(words)}" for role, words in _ROLES.items())
    raise ValueError(
        f"The backbone's inputs are {', '.join(map(repr, names))}. A text encoder takes token ids, and "
        f"maybe a "
        f"mask and types, by these names: {known}."
    )


class Tokens(Protocol):
    """Strings to tensors by the names of an encoder's inputs."""

    @property
    def length(self) -> int:
        """Tokens of a text."""

    def __call__(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        """int32 of shape (batch, length), by name."""

    def save(self, folder: Path) -> None:
        """Write beside a run what a client needs."""

    def tracked(self) -> Any:
        """What a SavedModel has to hold, or None."""

    def described(self) -> Text | None:
        """The rule for a .tflite file's report, golden pack and web page, or None."""


@dataclass(frozen=True)
class VocabularyTokens:
    """By WordPiece."""

    rule: TextRule
    roles: Mapping[str, str]

    @functools.cached_property
    def _tokenizer(self) -> WordPiece:
        return self.rule.tokenizer()

    @property
    def length(self) -> int:
        return self.rule.length

    def __call__(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        given = dict(zip((IDS, MASK, TYPES), self._tokenizer(texts), strict=True))
        return {name: given[role] for role, name in self.roles.items()}

    def save(self, folder: Path) -> None:
        self.rule.save(folder)

    def tracked(self) -> Any:
        return None

    def described(self) -> Text | None:
        names = {role: self.roles.get(role) for role in (MASK, TYPES)}
        rule = self.rule
        return Text(rule.words, rule.length, rule.lower_case, ids=self.roles[IDS], **names)


class PreprocessorTokens:
    """By a SavedModel that takes strings, such as TF Hub's preprocessors of BERT."""

    def __init__(self, handle: str, names: Sequence[str], trust: bool) -> None:
        path = resolve(handle)
        if not trust:
            check_saved_model(path)
        try:
            self._model = tf.saved_model.load(path)
        except (tf.errors.NotFoundError, FileNotFoundError) as error:
            if "Op type not registered" not in str(error):
                raise
            raise ValueError(
                f"{handle} has operations of tensorflow-text, which is not imported or not installed: "
                f"pip install "
                "tensorflow-text, of the same version as tensorflow."
            ) from None
        found = self._called(tf.constant(["two words"]))
        missing = [name for name in names if name not in found]
        if missing:
            raise ValueError(
                f"{handle} gives {', '.join(sorted(found))}, and the backbone takes {', '.join(names)} "
                f"as well: "
                "they do not belong together."
            )
        self._names, self._path = tuple(names), path
        self.length = int(found[names[0]].shape[1])

    def _called(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        call = self._model if callable(self._model) else self._model.signatures["serving_default"]
        found = call(texts)
        return found if isinstance(found, dict) else {"ids": found}

    def __call__(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        found = self._called(texts)
        return {
            name: tf.ensure_shape(tf.cast(found[name], tf.int32), (None, self.length)) for name in self._names
        }

    def save(self, folder: Path) -> None:
        content = {"kind": "SavedModel", "preprocessor": self._path, "length": self.length}
        (folder / "text.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def tracked(self) -> Any:
        return self._model

    def described(self) -> Text | None:
        return None


class PresetTokens:
    """By the preprocessor of a KerasHub preset folder."""

    def __init__(self, folder: str, names: Sequence[str], length: int) -> None:
        import keras_hub

        self._layer = keras_hub.models.TextClassifierPreprocessor.from_preset(folder, sequence_length=length)
        self._names, self._path, self.length = tuple(names), folder, length

    def __call__(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        found = self._layer(texts)
        found = found if isinstance(found, dict) else {"token_ids": found}
        return {name: tf.cast(found[name], tf.int32) for name in self._names}

    def save(self, folder: Path) -> None:
        self._layer.tokenizer.save_assets(str(folder))
        content = {"kind": "KerasHub", "preprocessor": self._path, "length": self.length}
        (folder / "text.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def tracked(self) -> Any:
        return self._layer

    def described(self) -> Text | None:
        return None


def vocabulary_beside(handle: str) -> Path | None:
    """The vocabulary that lies in a backbone's folder, or beside it."""
    folder = Path(handle)
    found = [folder / name for name in _BESIDE] + [folder.parent / "vocab.txt"]
    return next((path for path in found if path.is_file()), None)


def counted(data: TextData, tokens: Tokens) -> list[str]:
    """What has to be said about the tokens of all texts: how many are cut, and how many are unknown."""
    if not isinstance(tokens, VocabularyTokens):
        return []
    tokenizer = tokens.rule.tokenizer()
    found = [tokenizer.pieces(part.texts) for part in data.rows]
    total = sum(len(part.labels) for part in data.rows)
    cut = sum(int(np.sum(ids.row_lengths().numpy() > tokens.length - 2)) for ids in found)
    pieces = sum(int(tf.size(ids.values)) for ids in found)
    unknown = sum(int(np.sum(ids.values.numpy() == tokens.rule.words.index("[UNK]"))) for ids in found)
    notes = []
    if cut:
        notes.append(
            f"{cut:,} of {total:,} texts have more than {tokens.length} tokens: what is beyond is cut off."
        )
    if unknown:
        notes.append(f"{unknown:,} of {pieces:,} tokens are not in the vocabulary ({unknown / pieces:.1%}).")
    return notes
