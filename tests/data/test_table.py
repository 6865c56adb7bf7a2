"""CSV files as people have them."""

import csv

import numpy as np
import pytest
from pictures import write_classes

from kerasft.data import load_dataset

SIDE = 4


@pytest.fixture
def pets(tmp_path):
    """Eight dark cats and eight light dogs in one tree, and the names of their files."""
    write_classes(tmp_path / "pets", count=8)
    return tmp_path, [(f"pets/{name}/{i}.png", name) for i in range(8) for name in ("dog", "cat")]


def written(path, rows, **options):
    options = {"encoding": "utf-8", "delimiter": ",", **options}
    with open(path, "w", newline="", encoding=options.pop("encoding")) as file:
        csv.writer(file, **options).writerows(rows)
    return path


def loaded(path, **options):
    """The data set, after a look at whether the labels are those of the pictures: cats are dark."""
    data = load_dataset(path, image_size=SIDE, test_fraction=0.3, validation_fraction=0.3, **options)
    dark = [name in ("cat", "0", "7") for name in data.class_names]
    for part in (data.train, data.validation, data.test):
        for images, labels in part:
            assert [dark[label] for label in labels] == list(images.numpy().mean((1, 2, 3)) < 100)
    return data


@pytest.mark.parametrize(
    "header", [("path", "label"), ("File Name", "CLASS"), ("image_path", "category"), ("filename", "species")]
)
def test_columns_are_found_by_their_names(pets, header):
    folder, rows = pets
    data = loaded(written(folder / "a.csv", [header, *rows]))
    assert data.class_names == ("cat", "dog") and len(data.split) == 16 and data.notes == ()
    data = loaded(written(folder / "b.csv", [header[::-1], *(row[::-1] for row in rows)]))
    assert data.class_names == ("cat", "dog")


def test_columns_are_found_by_what_they_hold(pets):
    folder, rows = pets
    for rows_given in (rows, [("where", "what"), *rows]):  # with and without a header
        assert loaded(written(folder / "a.csv", rows_given)).class_names == ("cat", "dog")
    header = ("", "image", "image_name", "label")  # as pandas writes an index; the paths are those that exist
    data = loaded(written(folder / "b.csv", [header, *((i, f"no. {i}", *row) for i, row in enumerate(rows))]))
    assert len(data.split) == 16
    assert data.notes == (f"{folder / 'b.csv'}: the columns '', 'image' are not used.",)


@pytest.mark.parametrize(
    ("numbers", "names"),
    [(("0", "1"), ("0", "1")), (("7", "10"), ("7", "10")), (("0.0", "1.0"), ("0", "1"))],
)
def test_labels_that_are_numbers_are_in_their_order(pets, numbers, names):
    folder, rows = pets
    given = [(path, numbers[label == "dog"]) for path, label in rows]
    assert loaded(written(folder / "a.csv", [("path", "label"), *given])).class_names == names


def test_one_hot_labels(pets):
    folder, rows = pets
    given = [(path, int(label == "dog"), int(label == "cat"), 0) for path, label in rows]
    header = ("path", "dog", "cat")
    for kind in (int, float, bool):  # as pandas writes its dummies
        rows_given = [(path, kind(dog), kind(cat)) for path, dog, cat, _ in given]
        data = loaded(written(folder / "a.csv", [header, *rows_given]))
        assert data.class_names == ("dog", "cat")
    given[4] = (given[4][0], 1, 1, 0)
    with pytest.raises(ValueError, match="one class in each row, but not in the lines 6: there are 2"):
        loaded(written(folder / "a.csv", [header, *(row[:3] for row in given)]))


def test_a_number_beside_its_name_gives_way_to_it(pets):
    folder, rows = pets
    given = [(path, int(label == "cat") + 3, label) for path, label in rows]
    header = ("path", "label", "class_name")
    assert loaded(written(folder / "a.csv", [header, *given])).class_names == ("cat", "dog")
    given[0] = (*given[0][:2], "horse")
    with pytest.raises(ValueError, match=r"'label' and 'class_name' could be the label.*columns are 'path'"):
        loaded(written(folder / "a.csv", [header, *given]))


def test_a_column_says_the_part(pets):
    folder, rows = pets
    words = ["Train", "train", "TEST", "valid", "training", "test", "val", "train"] * 2
    given = [(*row, word) for row, word in zip(rows, words)]
    data = loaded(written(folder / "a.csv", [("path", "label", "split"), *given]))
    assert (data.train_size, data.validation_size, data.test_size) == (8, 4, 4)
    given[3] = (*given[3][:2], "both")
    with pytest.raises(ValueError, match="'split' is train, validation or test; received 'both'"):
        loaded(written(folder / "a.csv", [("path", "label", "split"), *given]))
    folds = [(*row, i % 5) for i, row in enumerate(rows)]
    data = loaded(written(folder / "a.csv", [("path", "label", "set"), *folds]))
    assert "'set'" in data.notes[0]
    held = [(*row, "test") for row in rows]
    with pytest.raises(ValueError, match="calls no row 'train'"):
        loaded(written(folder / "a.csv", [("path", "label", "split"), *held]))


@pytest.mark.parametrize(
    "options",
    [
        {"delimiter": ";"}, {"delimiter": "\t"}, {"delimiter": "|"}, {"encoding": "utf-8-sig"},
        {"encoding": "utf-16"}, {"quoting": csv.QUOTE_ALL}, {"lineterminator": "\n"},
    ],
)  # fmt: skip
def test_dialects(pets, options):
    folder, rows = pets
    assert loaded(written(folder / "a.csv", [("path", "label"), *rows], **options)).class_names == (
        "cat",
        "dog",
    )


def test_labels_with_delimiters_in_them_and_empty_lines(pets):
    folder, rows = pets
    names = {"cat": "cat, small; grey", "dog": "dog, large; brown"}
    given = [("path", "label"), *((path, names[label]) for path, label in rows)]
    text = written(folder / "a.csv", given).read_text() + "\n\n"
    (folder / "a.csv").write_text(text)
    data = load_dataset(folder / "a.csv", image_size=SIDE)
    assert data.class_names == tuple(names.values())


def test_paths_of_windows_and_absolute_ones(pets):
    folder, rows = pets
    for change in (lambda p: p.replace("/", "\\"), lambda p: str(folder / p), lambda p: f" {p} "):
        given = [(change(path), label) for path, label in rows]
        assert len(loaded(written(folder / "a.csv", [("path", "label"), *given])).split) == 16


def test_files_that_are_missing_are_named(pets):
    folder, rows = pets
    path = written(folder / "a.csv", [("path", "label"), *rows, ("pets/gone.png", "cat")])
    with pytest.raises(ValueError, match=r"1 of 17 images can't be read[\s\S]*gone.png: .*No such file"):
        loaded(path)
    assert [p.name for p in loaded(path, skip_corrupt=True).skipped] == ["gone.png"]


def both_named(rows):
    return [("image", "file", "label"), *((path, path, label) for path, label in rows)]


def two_parts(rows):
    return [("path", "label", "split", "set"), *((*row, "train", "test") for row in rows)]


def more(*row):
    return lambda rows: [("path", "label"), *rows, row]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [("a", "label"), *((f"x{p}", c) for p, c in rows)], "no column holds paths of files"),
        (lambda rows: [("path", "a", "b"), *((*r, "x") for r in rows)], "no column is the label.*'a', 'b'"),
        (both_named, "'image' and 'file' could be the column of"),
        (more("pets/cat/0.png", ""), "'label' is empty in the lines 18"),
        (more("pets/cat/0.png", "dog"), "two labels: 'cat' in line 3 and 'dog' in line 18"),
        (more("pets/cat/0.png", "cat", "x"), "line 18 has 3 cells"),
        (lambda rows: [("path", "label")], "no rows below its header"),
        (lambda rows: [("path",), *((p,) for p, _ in rows)], "no rows of one length"),
        (two_parts, "both say the part"),
    ],
)
def test_what_can_not_be_read_for_sure_is_refused(pets, change, message):
    folder, rows = pets
    with pytest.raises(ValueError, match=message):
        loaded(written(folder / "a.csv", change(rows)))


def test_paths_that_all_lead_nowhere_are_one_mistake(pets):
    folder, rows = pets
    names = [(path.rsplit("/", 1)[1], label) for path, label in rows]  # 0.png is a cat and a dog
    with pytest.raises(ValueError, match=r"none of the 16 paths in 'path' is there.*0\.png.*count from"):
        load_dataset(written(folder / "a.csv", [("path", "label"), *names]))


def test_what_is_no_table(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file .*gone.csv"):
        load_dataset(tmp_path / "gone.csv")
    (tmp_path / "list.txt").write_text("path,label")
    with pytest.raises(FileNotFoundError, match="list.txt is no folder.*end as that of a CSV file"):
        load_dataset(tmp_path / "list.txt")
    (tmp_path / "a.csv").write_bytes("path,label\nä.png,ö\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"no UTF-8 text \(byte 11\)"):
        load_dataset(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_bytes(b"")
    with pytest.raises(ValueError, match="no two columns"):
        load_dataset(tmp_path / "a.csv")
    assert np.all([not p.name.startswith(".") for p in tmp_path.iterdir()])
