"""Strings to token ids against Hugging Face's BertWordPieceTokenizer, and vocabularies that are wrong."""

import json

import numpy as np
import pytest
from kerasft.export.text import check_text
from tokenizers import BertWordPieceTokenizer
from wordpiece_cases import AWKWARD, MARKS, VOCABULARY, needs_whole_vocabulary, whole_vocabulary

from kerasft import export


def theirs(vocabulary, length, **options):
    """The ids and masks of another implementation."""
    numbers = {token: i for i, token in enumerate(vocabulary)}
    other = BertWordPieceTokenizer(vocab=numbers, **options)
    other.enable_truncation(length)
    other.enable_padding(length=length)
    return other


@pytest.mark.parametrize("length", [3, 16, 512])
@pytest.mark.parametrize("lower", [True, False])
def test_ids_are_those_of_another_implementation(lower, length):
    text = export.Text(VOCABULARY, length, lower_case=lower, ids="i", mask="m", types="t")
    texts = [t for t in AWKWARD if "[SEP]" not in t]  # where marks in a text become marks
    made = text.encode(texts)
    found = theirs(VOCABULARY, length, lowercase=lower).encode_batch(texts)
    np.testing.assert_array_equal(made["i"], [f.ids for f in found])
    np.testing.assert_array_equal(made["m"], [f.attention_mask for f in found])
    np.testing.assert_array_equal(made["t"], [f.type_ids for f in found])
    assert {v.dtype.name for v in made.values()} == {"int32"}
    assert len(np.unique(made["i"])) > (20 if length > 3 else 5)


def test_marks_in_a_text_are_text():
    text = export.Text(VOCABULARY, 8)
    assert text.explain("[SEP]").tokens == ("[", "sep", "]")


def test_what_did_not_fit_is_named():
    found = export.Text(VOCABULARY, 6).explain("The unheard film is good, Zzz!")
    assert found.tokens == ("the", "[UNK]", "film", "is") and found.unknown == ("unheard", "zzz")
    assert found.cut == 4  # good , [UNK] !
    assert export.Text(VOCABULARY, 6).explain("").ids == (2, 3, 0, 0, 0, 0)


@pytest.mark.slow
@needs_whole_vocabulary
def test_a_whole_vocabulary():
    vocabulary = whole_vocabulary()
    assert len(vocabulary) == 30_522
    text = export.Text(vocabulary, 16)
    words = [token for token in vocabulary if not token.startswith("[")]
    found = theirs(vocabulary, 16).encode_batch(words)
    np.testing.assert_array_equal(text.encode(words)["ids"], [f.ids for f in found])
    alone = {t: i for i, t in enumerate(vocabulary) if t.isalpha() and t.isascii()}
    assert len(alone) > 20_000
    assert all(text.explain(t).ids[1] == i and len(text.explain(t).tokens) == 1 for t, i in alone.items())


def test_a_vocabulary_in_a_file(tmp_path):
    for content in (
        "\n".join(VOCABULARY),
        "\r\n".join(VOCABULARY) + "\r\n",
        "\ufeff" + "\n".join(VOCABULARY) + "\n",
    ):
        path = tmp_path / "vocab.txt"
        path.write_bytes(content.encode())
        text = export.Text(path, 8)
        assert text.tokens == tuple(VOCABULARY) and text == export.Text(VOCABULARY, 8)
    path.write_bytes(b"[PAD]\n\xff\n")
    with pytest.raises(ValueError, match=r"vocab\.txt is no UTF-8"):
        export.Text(path, 8)
    with pytest.raises(FileNotFoundError, match=r"no vocabulary at .*missing\.txt"):
        export.Text(tmp_path / "missing.txt", 8)


@pytest.mark.parametrize(
    ("vocabulary", "options", "error", "message"),
    [
        (MARKS[1:], {}, ValueError, r"4 tokens has no padding token '\[PAD\]'; it begins with .*padding=…"),
        (MARKS[:2], {}, ValueError, r"no start token '\[CLS\]'.*or that there is none by \"\""),
        ([*MARKS, "a", "a"], {}, ValueError, "'a' has the ids 5 and 6"),
        ([*MARKS, "", "a"], {}, ValueError, "none of them empty; token 5 is ''"),
        ([*MARKS, 5], {}, TypeError, "token 5 is 5"),
        ({"[PAD]": 0}, {}, TypeError, "received dict"),
        (MARKS, {"sequence_length": 2}, ValueError, "3 or more; received 2"),
        (MARKS, {"sequence_length": "9"}, TypeError, "received '9'"),
        (MARKS, {"mask": "ids"}, ValueError, r"different inputs; received \['ids', 'ids'\]"),
    ],
)
def test_wrong_vocabularies(vocabulary, options, error, message):
    with pytest.raises(error, match=message):
        export.Text(vocabulary, **{"sequence_length": 8} | options)


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        (["a", None], TypeError, "Text 1: a text is a string; received None of NoneType"),
        (["a", 5.0], TypeError, "Text 1: a text is a string; received 5.0"),
        ([b"\xff"], ValueError, "Text 0: .*no UTF-8"),
        (["\ud800"], ValueError, "Text 0: .*can't be written in UTF-8"),
        ("a", TypeError, r"also one alone: \[text\]"),
        (np.array([["a", "b"]]), ValueError, r"received the shape \(1, 2\)"),
    ],
)
def test_wrong_texts(texts, error, message):
    with pytest.raises(error, match=message):
        export.Text(VOCABULARY, 8).encode(texts)


def test_no_marks_and_json():
    text = export.Text(["[PAD]", "[UNK]", "a"], 3, start="", end="", mask="mask")
    made = text.encode(["a a a a", "a"])
    np.testing.assert_array_equal(made["ids"], [[2, 2, 2], [2, 0, 0]])
    np.testing.assert_array_equal(made["mask"], [[1, 1, 1], [1, 0, 0]])
    assert export.Text(**json.loads(json.dumps(text.to_dict()))) == text
    with pytest.raises(TypeError, match=r"kerasft.export.Text\(vocabulary.*received dict"):
        check_text(text.to_dict())


@pytest.mark.parametrize("lower", [True, False])
def test_ids_are_those_that_training_sees(lower):
    """What kerasft trains with and what a client is told are two programs."""
    from kerasft.text import WordPiece

    made = export.Text(VOCABULARY, 32, lower_case=lower, ids="i", mask="m", types="t").encode(AWKWARD)
    for mine, other in zip(
        made.values(), WordPiece(VOCABULARY, lower_case=lower, length=32)(AWKWARD), strict=True
    ):
        np.testing.assert_array_equal(mine, other)
