"""Texts from folders, tables and JSON lines, against rows written by hand."""

import hashlib
import json

import pytest
import tensorflow as tf

from kerasft.data import Split, load_texts

GOOD = [f"a good film, number {i}" for i in range(12)]
BAD = [f"bad; truly bad ({i})" for i in range(12)]


def everything(data):
    found = []
    for part in (data.train, data.validation, data.test):
        for texts, labels in part:
            found += [
                (t.decode(), data.class_names[label]) for t, label in zip(texts.numpy(), labels.numpy())
            ]
    return sorted(found)


EXPECTED = sorted([(t, "good") for t in GOOD] + [(t, "bad") for t in BAD])


def folder(root, extra=()):
    for name, texts in (("good", GOOD), ("bad", BAD)):
        (root / name).mkdir(parents=True)
        for i, text in enumerate(texts):
            (root / name / f"{i}.txt").write_bytes(text.encode())
    for name, content in extra:
        (root / name).write_bytes(content)
    return root


def table(path, separator=",", header="text,label", order=(0, 1)):
    rows = [[f'"{t}"', name] for t, name in EXPECTED]
    lines = [separator.join(row[i] for i in order) for row in rows]
    path.write_text("\n".join([*([header] if header else []), *lines]) + "\n", encoding="utf-8")
    return path


def test_a_folder_of_class_folders(tmp_path):
    data = load_texts(folder(tmp_path / "data", [("good/cover.png", b"x")]), batch_size=5)
    assert everything(data) == EXPECTED and data.class_names == ("bad", "good")
    assert data.train_size + data.validation_size + data.test_size == 24
    assert [path.name for path in data.left_out] == ["cover.png"] and "1 .png" in data.notes[0]
    assert next(iter(data.validation))[1].dtype == "int32"


def test_parts_in_folders(tmp_path):
    folder(tmp_path / "data" / "train")
    for name in ("good", "bad"):
        (tmp_path / "data" / "test" / name).mkdir(parents=True)
        (tmp_path / "data" / "test" / name / "x.txt").write_text(f"another {name} one")
    data = load_texts(tmp_path / "data")
    assert data.test_size == 2 and {t.decode() for t in next(iter(data.test))[0].numpy()} == {
        "another good one",
        "another bad one",
    }


def test_what_is_no_utf8_is_named(tmp_path):
    root = folder(tmp_path / "data", [("good/latin.txt", "caf\xe9 noir".encode("latin-1"))])
    words = r"(?s)1 of 25 texts.*--skip-corrupt.*latin\.txt: no UTF-8 text \(byte 3\)"
    with pytest.raises(ValueError, match=words):
        load_texts(root)
    data = load_texts(root, skip_corrupt=True)
    assert everything(data) == EXPECTED and [path.name for path in data.skipped] == ["latin.txt"]
    assert "1 of 25 texts can't be read" in data.notes[0]


@pytest.mark.parametrize(
    "name, options",
    [
        ("a.csv", {}),
        ("a.tsv", {"separator": "\t", "header": "label\ttext", "order": (1, 0)}),
        ("b.csv", {"header": None}),
        ("c.csv", {"separator": ";", "header": "Review;Sentiment"}),
        ("d.csv", {"header": "what,how"}),
    ],
)
def test_tables(tmp_path, name, options):
    assert everything(load_texts(table(tmp_path / name, **options))) == EXPECTED


def test_a_table_with_numbers_parts_and_other_columns(tmp_path):
    rows = [
        f'{i},"{t}",{int(name == "good")},{"test" if i % 4 == 0 else "train"}'
        for i, (t, name) in enumerate(EXPECTED)
    ]
    (tmp_path / "a.csv").write_text("idx,sentence,label,split\n" + "\n".join(rows))
    data = load_texts(tmp_path / "a.csv")
    assert data.class_names == ("0", "1") and data.test_size == 6 and "'idx'" in data.notes[0]


@pytest.mark.parametrize("as_list", [False, True])
def test_json_lines(tmp_path, as_list):
    entries = [{"text": t, "label": name} for t, name in EXPECTED]
    path = tmp_path / ("a.json" if as_list else "a.jsonl")
    path.write_text(json.dumps(entries) if as_list else "\n".join(map(json.dumps, entries)) + "\n\n")
    assert everything(load_texts(path)) == EXPECTED


@pytest.mark.parametrize(
    "content, words",
    [
        ('{"text": "a b", "label": 1}\n{"text": "c d"}', r"line 2: .*keys of the first \(text, label\)"),
        ('{"text": "a b", "label": 1}\nnot json', "line 2 is no JSON"),
        ('{"text": ["a"], "label": 1}', "line 1: 'text' is a text"),
        ('"a b"', "line 1: each line is an object"),
        ("", "no lines"),
        (b'{"text": "\xe9"}', r"no UTF-8 text \(byte 10\)"),
    ],
)
def test_damaged_json_lines_are_refused_by_line(tmp_path, content, words):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=words):
        load_texts(path)


@pytest.mark.parametrize(
    "header, rows, words",
    [
        ("text,review,label", ["a b,c d,x", "e f,g h,y"], "'text' and 'review' could be the text"),
        ("a,b,label", ["a b,c d,x", "e f,g h,y"], "'a' and 'b' could be the text"),
        ("a,label", ["word,x", "other,y"], "no column holds texts"),
        ("text,a,b", ["a b,c,x", "e f,g,y"], "no column is the label"),
    ],
)
def test_columns_with_two_readings_are_refused(tmp_path, header, rows, words):
    (tmp_path / "a.csv").write_text("\n".join([header, *rows]))
    with pytest.raises(ValueError, match=words):
        load_texts(tmp_path / "a.csv")


def test_empty_texts_are_counted_and_left_out(tmp_path):
    path = table(tmp_path / "a.csv")
    path.write_text(path.read_text() + '"",good\n" \t",bad\n')
    data = load_texts(path)
    assert everything(data) == EXPECTED
    assert data.notes == (f"2 of 26 texts are empty and are left out ({path}, line 26).",)


def test_the_split_follows_the_bytes_of_a_text(tmp_path):
    one = load_texts(folder(tmp_path / "data"), seed=1)
    other = load_texts(table(tmp_path / "a.csv"), seed=2, batch_size=3)
    assert one.split == other.split
    assert set(one.split.parts) == {hashlib.sha256(t.encode()).hexdigest() for t in GOOD + BAD}
    moved = {digest: "train" if part == "validation" else part for digest, part in one.split.parts.items()}
    with pytest.raises(ValueError, match="Too few texts to divide them"):
        load_texts(tmp_path / "a.csv", split=Split(moved))


def test_each_pass_has_an_order_of_its_own_and_the_seed_decides_it(tmp_path):
    path = table(tmp_path / "a.csv")

    def passes(seed):
        data = load_texts(path, seed=seed, batch_size=100)
        return [next(iter(data.train))[0].numpy().tolist() for _ in range(2)]

    assert passes(0) == passes(0) and passes(0)[0] != passes(0)[1] and passes(0) != passes(1)


def test_too_little(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        load_texts(tmp_path / "nowhere")
    (tmp_path / "a.csv").write_text("text,label\na b,x\nc d,x\n")
    with pytest.raises(ValueError, match="one class only"):
        load_texts(tmp_path / "a.csv")


def test_mapped_once_in_the_same_orders(tmp_path):
    data = load_texts(table(tmp_path / "a.csv"), batch_size=4, seed=3)
    calls = []

    def length(texts):
        calls.append(len(texts))
        return {"length": tf.strings.length(texts)}

    train, validation, test = data.mapped(length)
    for _ in range(2):
        for part, other in ((data.train, train), (data.validation, validation), (data.test, test)):
            found = [(len(t), y) for texts, ys in part for t, y in zip(texts.numpy(), ys.numpy())]
            assert [(n, y) for x, ys in other for n, y in zip(x["length"].numpy(), ys.numpy())] == found
    assert sum(calls) == 24
