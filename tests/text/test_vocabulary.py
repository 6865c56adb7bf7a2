"""Vocabulary files: read, and refused by name."""

import pytest

from kerasft.text.vocabulary import check_fits, is_lower_case, read_vocabulary

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def written(folder, content):
    path = folder / "vocab.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_word_in_each_line(tmp_path):
    lines = [*SPECIAL, "the", "##s", "\u2028"]
    assert read_vocabulary(written(tmp_path, "\n".join(lines) + "\n")) == tuple(lines)
    assert read_vocabulary(written(tmp_path, "\r\n".join(lines))) == tuple(lines)
    assert read_vocabulary(written(tmp_path, b"\xef\xbb\xbf" + "\n".join(lines).encode())) == tuple(lines)


@pytest.mark.parametrize(
    "content, words",
    [
        ("\n".join([*SPECIAL, "a", "b", "a"]), "'a' in the lines 5 and 7"),
        ("\n".join([*SPECIAL, "", "b"]), "no word in the lines 5"),
        ("[PAD]\n[UNK]\nthe", r"3 words, and not \[CLS\], \[SEP\].*begins with '\[PAD\]'"),
        ("", r"0 words, and not \[PAD\]"),
        (b"\xff\xfe\x00", "no UTF-8"),
        ('{"version": "1.0"}', "JSON.*vocab.txt"),
    ],
)
def test_what_is_no_vocabulary_is_refused_by_name(tmp_path, content, words):
    with pytest.raises(ValueError, match=words) as error:
        read_vocabulary(written(tmp_path, content))
    assert "vocab.txt" in str(error.value)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no vocabulary"):
        read_vocabulary(tmp_path / "vocab.txt")


def test_it_has_to_fit_the_embedding():
    check_fits(SPECIAL, 4)
    with pytest.raises(ValueError, match="4 words, and The encoder has 30,522 embeddings"):
        check_fits(SPECIAL, 30522)


def test_capitals_say_that_letters_are_kept():
    assert is_lower_case([*SPECIAL, "the", "中", "[MASK]"])
    assert not is_lower_case([*SPECIAL, "the", "##S"])
