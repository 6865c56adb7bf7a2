"""WordPiece against Hugging Face's tokenizers."""

import random

import numpy as np
import pytest
import tensorflow as tf
from tokenizers import BertWordPieceTokenizer

from kerasft.text.wordpiece import WordPiece

LETTERS = "abcdefghijklmnopqrstuvwxyzABCXYZéß123"
WORDS = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]",
    *"abcdeghiklmnoprstuvxyz0123.,!?'-#$[]()=<>`;^_|~中国日本", "##", "ß", "é", "É", "A", "B",
    *(f"##{c}" for c in "abcdefghijklmnoprstuvwxyz0123éßÉAB한"),
    "un", "##want", "##ed", "the", "##they", "hello", "world", "##ing", "runn", "a" * 40, "##" + "a" * 30,
    "ᄒ", "##ᅡ", "##ᆫ", "ₐ", "ς", "##σ", "σ", "emoji", "😀", "##😀", "ﬁ", "½", "ı", "##ı",
]  # fmt: skip

AWKWARD = [
    "", " ", "\t\n\r\x0b\x0c\x85", "unwanted", "UnWanted running", "hello, world!",
    "hello,world!!", "l'été à Noël",
    "cafe\u0301 é e\u0301\u0323", "中国 日本中国hello", "한국 하나", "İstanbul ıı ẞ ß ﬁ ½ ₐ", "Σίσυφος ΣΣ ς",
    "a\x00b\ufffdc", "a\u200bb\u200dc\ufeffd", "a\u00a0b\u2003c\u3000d\u2028e",
    "x" * 101, "a" * 100, "a" * 101,
    "qqq hello qqq", "😀 emoji😀 😀😀 👩‍👩‍👧", "\ue000 private \U0010fffe", "$1.23=<b>", "co-op (x_y)",
    "hello\u0378there",
    "\u037e\u1fef\u2260\u0344a\u0344", "\u1734\u166d\u0890", "##ing ## # hello##ing",
    "\U0002f800\ufa10 \U0001e900",
    "ab " * 300, "hello " * 600, "\u302e\u0301a", "-- -", "…‘’“”—", "tab\tnew\nline\r\nend",
]  # fmt: skip


def reference(lower_case, length=None):
    tokenizer = BertWordPieceTokenizer({word: i for i, word in enumerate(WORDS)}, lowercase=lower_case)
    if length is not None:
        tokenizer.enable_truncation(length)
        tokenizer.enable_padding(length=length)
    return tokenizer


@pytest.mark.parametrize("lower_case", [True, False])
def test_ids_equal_those_of_hugging_face(lower_case):
    ours = WordPiece(WORDS, lower_case=lower_case)
    theirs = [found.ids for found in reference(lower_case).encode_batch(AWKWARD, add_special_tokens=False)]
    assert ours.pieces(AWKWARD).to_list() == theirs
    assert sum(map(len, theirs)) > 1000 and WORDS.index("[UNK]") in theirs[AWKWARD.index("x" * 101)]


@pytest.mark.parametrize("lower_case", [True, False])
def test_random_texts_too(lower_case):
    chance = random.Random(0)
    assigned = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    texts = []
    early, near = assigned[:0x3000], LETTERS + " \t.,'-中한é\u0301\u200b"
    for _ in range(400):
        texts.append("".join(chance.choice(near) for _ in range(chance.randrange(60))))
        texts.append("".join(chr(chance.choice(early)) for _ in range(30)))
        texts.append("".join(chr(chance.choice(assigned)) for _ in range(30)))
    ours = WordPiece(WORDS, lower_case=lower_case)
    theirs = [found.ids for found in reference(lower_case).encode_batch(texts, add_special_tokens=False)]
    assert ours.pieces(texts).to_list() == theirs


@pytest.mark.parametrize("lower_case", [True, False])
def test_each_character_between_two_letters(lower_case):
    codes = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000 and (c < 0x32000 or c % 97 == 0)]
    texts = [f"a{chr(code)}b" for code in codes]
    tokenizer = reference(lower_case)
    theirs = [found.ids for found in tokenizer.encode_batch(texts, add_special_tokens=False)]
    assert WordPiece(WORDS, lower_case=lower_case).pieces(texts).to_list() == theirs


@pytest.mark.parametrize("length", [3, 16, 512])
def test_cut_and_padded_as_hugging_face_does(length):
    ids, mask, types = WordPiece(WORDS, length=length)(AWKWARD)
    found = reference(True, length).encode_batch(AWKWARD)
    np.testing.assert_array_equal(ids, [f.ids for f in found])
    np.testing.assert_array_equal(mask, [f.attention_mask for f in found])
    np.testing.assert_array_equal(types, [f.type_ids for f in found])
    assert ids.dtype == mask.dtype == types.dtype == tf.int32


def test_special_words_in_a_text_are_text():
    ids = WordPiece(WORDS).pieces(["[SEP] [unused0]"])[0].numpy().tolist()
    assert WORDS.index("[SEP]") not in ids and WORDS.index("[unused0]") not in ids
    assert ids[0] == WORDS.index("[") and WORDS.index("]") in ids


def test_what_is_no_utf8_is_dropped():
    found = WordPiece(WORDS).pieces(tf.constant([b"hello \xff\xfe world\xc3", b"hello world"]))
    assert found[0].numpy().tolist() == found[1].numpy().tolist()


def test_in_a_saved_model_that_takes_strings(tmp_path):
    module = tf.Module()
    tokenizer = WordPiece(WORDS, length=12)
    module.ids = tf.function(tokenizer, input_signature=[tf.TensorSpec([None], tf.string)])
    tf.saved_model.save(module, str(tmp_path / "saved"))
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    for texts in (AWKWARD, AWKWARD[3:4], []):
        expected = tokenizer(tf.constant(texts, tf.string, shape=[len(texts)]))
        for one, other in zip(loaded.ids(tf.constant(texts, tf.string, shape=[len(texts)])), expected):
            np.testing.assert_array_equal(one, other)
    assert expected[0].shape == (0, 12)


def test_a_column_of_strings_is_a_batch():
    tokenizer = WordPiece(WORDS, length=8)
    np.testing.assert_array_equal(tokenizer([["hello"], ["world"]])[0], tokenizer(["hello", "world"])[0])


def test_too_short():
    with pytest.raises(ValueError, match="length"):
        WordPiece(WORDS, length=2)
