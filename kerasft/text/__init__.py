"""Text as the token ids of a WordPiece vocabulary, by TensorFlow operations that a SavedModel can hold."""

from kerasft.text.rule import TextRule
from kerasft.text.vocabulary import check_fits, read_vocabulary
from kerasft.text.wordpiece import WordPiece

__all__ = [
    "TextRule",
    "WordPiece",
    "check_fits",
    "read_vocabulary",
]
