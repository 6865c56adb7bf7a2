"""WordPiece against Hugging Face's BertWordPieceTokenizer."""

import unicodedata

import pytest
from kerasft.export.wordpiece import pieces_of, words_of
from tokenizers import normalizers, pre_tokenizers
from wordpiece_cases import AWKWARD

OPTIONS = [(True, True), (True, False), (False, False), (False, True)]


def theirs(text, lower, strip):
    cleaner = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=strip, lowercase=lower
    )
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str(cleaner.normalize_str(text))
    return [word for word, _ in split]


@pytest.mark.parametrize(("lower", "strip"), OPTIONS)
def test_words(lower, strip):
    for text in AWKWARD:
        assert list(words_of(text, lower_case=lower, strip_accents=strip)) == theirs(text, lower, strip), text
    assert sum(len(theirs(text, lower, strip)) for text in AWKWARD) > 100


@pytest.mark.parametrize(("lower", "strip"), OPTIONS[:1])
def test_each_character_of_unicode_8(lower, strip):
    """Between two letters; of later versions of Unicode the two sides know different characters."""
    for code in range(1, 0x30000):
        c = chr(code)
        if unicodedata.ucd_3_2_0.category(c) in ("Cn", "Cs"):
            continue
        text = f"a{c}b"
        mine = list(words_of(text, lower_case=lower, strip_accents=strip))
        if mine != theirs(text, lower, strip):
            # what has another category today than in 2002
            assert unicodedata.category(c) != unicodedata.ucd_3_2_0.category(c), hex(code)


def test_pieces():
    ids = {"un": 0, "##aff": 1, "##able": 2, "una": 3}
    assert pieces_of("unaffable", ids | {"##ffable": 4}) == ["una", "##ffable"]  # the longest first
    assert pieces_of("unaffable", ids) == []  # which may leave a rest that nothing matches
    assert pieces_of("unaff", {"un": 0, "##aff": 1}) == ["un", "##aff"]
    assert pieces_of("u" * 101, {"u": 0, "##u": 1}) == [] != pieces_of("u" * 100, {"u": 0, "##u": 1})
