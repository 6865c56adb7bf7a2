"""WordPiece in TensorFlow operations, so that a SavedModel can take strings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kerasft.arguments import check_integer
from kerasft.text.characters import APART, DROPPED, ITSELF_APART, SPACE, character_table
from kerasft.text.vocabulary import BEGIN, END, PAD, UNKNOWN, check_vocabulary

_LONGEST = 100  # characters of a word; one that is longer is unknown
_MANY = 2**21  # more than all code points
_CONTINUED = "##"


class WordPiece:
    """Strings to token ids, as BERT's tokenizer does it, by operations of TensorFlow alone.

    Control characters are dropped; punctuation and Chinese characters are words by themselves; with
    `lower_case`, accents are stripped and letters lowered. Each word is divided into the longest pieces that
    the vocabulary has, from its beginning; a word that can't be, or with more than 100 characters, is
    `[UNK]`. Ids are those of Hugging Face's `BertWordPieceTokenizer`, but that the words "[CLS]", "[SEP]" and
    their like in a text are text. Bytes that are no UTF-8 are dropped.

    The vocabulary is in the graph as constants: there is no table to be initialized and no file to be found.

    Args:
        words: The vocabulary, by id.
        lower_case: Whether the model is an "uncased" one.
        length: The number of ids for each text: `[CLS]`, the text's, `[SEP]`, and `[PAD]` up to it. What is
            longer is cut off.

    Raises:
        TypeError, ValueError: The vocabulary is damaged, or `length` below 3.

    Example:
        >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##want", "##ed", "!"]
        >>> ids, mask, types = WordPiece(words, length=7)(["Unwanted!"])
        >>> ids.numpy().tolist(), mask.numpy().tolist()
        ([[2, 4, 5, 6, 7, 3, 0]], [[1, 1, 1, 1, 1, 1, 0]])

    References:
        Schuster & Nakajima (2012), Japanese and Korean voice search; Devlin et al. (2019), arXiv:1810.04805.
    """

    def __init__(self, words: Sequence[str], *, lower_case: bool = True, length: int = 128) -> None:
        check_integer("length", length, at_least=3)
        self.words = check_vocabulary(words)
        self.lower_case, self.length = lower_case, length
        self._ids = {word: self.words.index(word) for word in (PAD, UNKNOWN, BEGIN, END)}
        self._keys, self._nodes, self._accepted = _tree(self.words)

    def __call__(self, texts: tf.Tensor | Sequence[str]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The ids of texts.

        Args:
            texts: Strings, of shape (batch,) or (batch, 1).

        Returns:
            Ids, the mask (1 where there is a token) and the types (0): int32 of shape (batch, length).
        """
        pieces = self.pieces(texts)[:, : self.length - 2]
        ends = tf.fill((pieces.nrows(), 1), self._ids[BEGIN]), tf.fill((pieces.nrows(), 1), self._ids[END])
        whole = tf.concat([ends[0], pieces, ends[1]], axis=1)
        shape = (None, self.length)
        ids = whole.to_tensor(self._ids[PAD], shape=shape)
        mask = tf.sequence_mask(whole.row_lengths(), self.length, tf.int32)
        ids = tf.ensure_shape(ids, shape)
        return ids, tf.ensure_shape(mask, shape), tf.zeros_like(ids)

    def pieces(self, texts: tf.Tensor | Sequence[str]) -> tf.RaggedTensor:
        """The ids of all pieces of texts, without `[CLS]` and `[SEP]`, and not cut.

        Args:
            texts: Strings, of shape (batch,) or (batch, 1).

        Returns:
            int32 of shape (batch, None), ragged.
        """
        flat = tf.reshape(tf.convert_to_tensor(texts, tf.string), [-1])
        codes, rows = self._characters(flat)
        is_apart, is_space = codes >= APART, codes < 0
        after = tf.concat([[True], (is_apart | is_space)[:-1] | (rows[1:] != rows[:-1])], 0)
        begins = tf.boolean_mask(is_apart | after, ~is_space)
        codes, rows = (tf.boolean_mask(values, ~is_space) for values in (codes, rows))
        begins = tf.cast(begins, tf.int32)
        word_of = tf.cumsum(begins) - 1
        count = tf.reduce_sum(begins)
        lengths = tf.math.unsorted_segment_sum(tf.ones_like(word_of), word_of, count)
        row_of = tf.math.unsorted_segment_max(rows, word_of, count)
        ids, word = self._divided(codes % APART, lengths)
        return tf.RaggedTensor.from_value_rowids(
            ids, tf.gather(row_of, word), nrows=tf.size(flat, tf.int64), validate=False
        )

    def _characters(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The code points of all texts after normalization, -1 for a space, and the text of each."""
        table = character_table(self.lower_case)
        ragged = tf.strings.unicode_decode(texts, "UTF-8", errors="ignore")
        codes, rows = ragged.values, ragged.value_rowids()
        place = tf.gather(table.pages, codes // 256) * 256 + codes % 256
        action = tf.gather(table.actions.reshape(-1), place)
        row = tf.maximum(action, 0)
        many = tf.where(action >= 0, tf.gather(table.counts, row), tf.cast(action != DROPPED, tf.int32))
        source = tf.repeat(tf.range(tf.size(codes)), many)
        within = tf.range(tf.size(source)) - tf.gather(tf.cumsum(many, exclusive=True), source)
        codes, action, row = (tf.gather(values, source) for values in (codes, action, row))
        codes += tf.where(action == ITSELF_APART, APART, 0)
        at = tf.where(action >= 0, tf.gather(table.starts, row) + within, 0)
        codes = tf.where(action >= 0, tf.gather(table.codes, at), codes)
        return tf.where(action == SPACE, -1, codes), tf.gather(rows, source)

    def _divided(self, codes: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The ids of the pieces of words, in their order, and the word of each.

        All words walk down the tree of the vocabulary at the same time, a character in each step. Where a
        word can't go on, the longest piece that it has passed is taken, and it goes on behind that.
        """
        starts = tf.cumsum(lengths, exclusive=True)
        nothing = tf.fill(tf.shape(lengths), -1)
        zeros = tf.zeros_like(lengths)
        found = tf.TensorArray(tf.int32, 1, dynamic_size=True, element_shape=(None,)).write(0, nothing)
        begun = (tf.constant(1), zeros, zeros, zeros, nothing, lengths > _LONGEST, lengths > _LONGEST, found)

        def step(at, place, node, end, best, done, failed, found):  # type: ignore[no-untyped-def]
            is_inside = ~done & (place < lengths)
            code = tf.gather(codes, tf.where(is_inside, starts + place, 0))
            key = tf.cast(node, tf.int64) * _MANY + tf.cast(code, tf.int64)
            row = tf.minimum(tf.searchsorted(self._keys, key), len(self._keys) - 1)
            goes_on = is_inside & (tf.gather(self._keys, row) == key)
            place += tf.cast(goes_on, tf.int32)
            node = tf.where(goes_on, tf.gather(self._nodes, row), node)
            piece = tf.where(goes_on, tf.gather(self._accepted, row), -1)
            end, best = tf.where(piece >= 0, place, end), tf.where(piece >= 0, piece, best)
            stops = ~done & ~goes_on
            failed |= stops & (best < 0)
            found = found.write(at, tf.where(stops, best, -1))
            done |= stops & ((best < 0) | (end == lengths))
            place, node = tf.where(stops, end, place), tf.where(stops, 1, node)
            return at + 1, place, node, end, tf.where(stops, -1, best), done, failed, found

        at, *_, failed, found = tf.while_loop(lambda *state: tf.reduce_any(~state[5]), step, begun)
        table = tf.where(failed[None], -1, tf.reshape(found.concat(), [at, tf.size(lengths)]))
        table = tf.concat([tf.where(failed, self._ids[UNKNOWN], -1)[None], table], 0)
        by_word = tf.transpose(table)
        return tf.boolean_mask(by_word, by_word >= 0), tf.where(by_word >= 0)[:, 0]


def _tree(words: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A vocabulary as a tree of characters: node 0 begins a word, node 1 goes on in it.

    Returns:
        For each branch, sorted: its node and character as one number, the node to which it leads, and the id
        of the word that ends there, or -1.
    """
    branches: dict[int, int] = {}
    ids: dict[int, int] = {}
    for number, word in enumerate(words):
        is_continued = word.startswith(_CONTINUED) and word != _CONTINUED
        node = int(is_continued)
        for character in word.removeprefix(_CONTINUED) if is_continued else word:
            node = branches.setdefault(node * _MANY + ord(character), len(branches) + 2)
        ids[node] = number
    keys = np.array(sorted(branches), "int64")
    nodes = np.array([branches[key] for key in keys.tolist()], "int32")
    return keys, nodes, np.array([ids.get(node, -1) for node in nodes.tolist()], "int32")
