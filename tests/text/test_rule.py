"""The rule for text beside a run."""

import json

import pytest

from kerasft.text import TextRule

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "é")


def test_written_and_read(tmp_path):
    rule = TextRule(WORDS, lower_case=False, length=9)
    rule.save(tmp_path)
    assert TextRule.load(tmp_path) == rule
    assert (tmp_path / "vocab.txt").read_text(encoding="utf-8").split() == list(WORDS)
    assert rule.tokenizer().length == 9


def test_of_a_file_with_and_without_capitals(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    assert TextRule.of(tmp_path / "vocab.txt", 32) == TextRule(WORDS, True, 32)
    (tmp_path / "vocab.txt").write_text("\n".join([*WORDS, "Good"]), encoding="utf-8")
    assert not TextRule.of(tmp_path / "vocab.txt").lower_case


@pytest.mark.parametrize("change", [{"length": 2}, {"words": 7}, {"lower_case": "yes"}, {"kind": "BPE"}])
def test_damaged_rules_are_refused(tmp_path, change):
    rule = TextRule(WORDS)
    rule.save(tmp_path)
    (tmp_path / "text.json").write_text(json.dumps(rule.to_dict() | change))
    with pytest.raises(ValueError, match=r"text\.json"):
        TextRule.load(tmp_path)


def test_wrong_arguments():
    with pytest.raises(TypeError, match="lower_case"):
        TextRule(WORDS, lower_case="no")
    with pytest.raises(ValueError, match="length"):
        TextRule(WORDS, length=2)
