"""The record of which picture is in which part."""

import json

import pytest

from kerasft.data.split import Split

A, B, C = (letter * 64 for letter in "abc")


def test_a_split_comes_back_from_its_file(tmp_path):
    split = Split({B: "test", A: "train", C: "validation"})
    split.to_json(tmp_path / "run" / "split.json")
    assert Split.from_json(tmp_path / "run" / "split.json") == split
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["split.json"]
    assert len(split) == 3 and split.counts == {"train": 1, "validation": 1, "test": 1}
    content = json.loads((tmp_path / "run" / "split.json").read_text())
    assert content["test"] == [B] and content["hash"] == "sha256"


def test_an_overlap_is_what_another_split_tests_on_and_this_one_has_trained_on():
    run = Split({A: "train", B: "validation", C: "test"})
    assert run.overlap(Split({A: "test", B: "test", C: "test"})) == {A, B}
    assert run.overlap(Split({A: "train", C: "test", "d" * 64: "test"})) == frozenset()
    assert run.overlap(run) == frozenset()


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ([A], TypeError, "mapping.*received list"),
        ({A: 1}, TypeError, "texts to texts"),
        ({A: "holdout"}, ValueError, "no part 'holdout'. There are train, validation, test"),
        ({"cat.png": "test"}, ValueError, "64 hexadecimal digits; received 'cat.png'"),
        ({A.upper(): "test"}, ValueError, "64 hexadecimal digits"),
    ],
)
def test_what_is_no_split(parts, error, message):
    with pytest.raises(error, match=message):
        Split(parts)


GOOD = {"version": 1, "hash": "sha256", "train": [A], "validation": [], "test": [B]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version 2 .*reads version 1"),
        ({"version": True}, "version True"),
        ({"hash": "md5"}, "hash 'md5'"),
        ({"holdout": []}, "received .*holdout"),
        ({"test": B}, "test is a list"),
        ({"test": [B, A]}, "in two places"),
        ({"test": [3]}, "3 in test is no text"),
        ({"test": ["b"]}, "damaged.*received 'b'"),
    ],
)
def test_a_file_that_is_no_split(tmp_path, change, message):
    path = tmp_path / "split.json"
    path.write_text(json.dumps(GOOD))
    assert len(Split.from_json(path)) == 2
    path.write_text(json.dumps(GOOD | change))
    with pytest.raises(ValueError, match=message):
        Split.from_json(path)
    for text in ("[]", '{"version": 1}', "{", '{"test": [], "test": []}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"split\.json"):
            Split.from_json(path)
