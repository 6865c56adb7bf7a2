"""What the names of folders are understood to mean."""

import shutil

import pytest
from pictures import write_classes

from kerasft.data.layout import part_named, understood
from kerasft.data.listing import listed


def made(root, *places, count=2):
    """A tree with a few pictures in each place."""
    for number, place in enumerate(places):
        write_classes(root, classes=(place,), count=count, seed=number)
    return root


def read(root, layout=None):
    return understood(listed(root), layout)


def members(found, root):
    return sorted(
        (("train", "validation", "test")[part], found.classes[label], str(folder.path.relative_to(root)))
        for part, label, folder in found.members
    )


@pytest.mark.parametrize(
    ("name", "part"),
    [
        *(
            (name, 0)
            for name in ("train", "Train", "TRAIN", "training", "Training_Set", "trainset", "train2017")
        ),
        *(
            (name, 1)
            for name in ("val", "Val", "valid", "VALID", "validation", "dev", "val_images", "devset")
        ),
        *((name, 2) for name in ("test", "Test", "testing", "test_set", "TEST-DATA", "test1")),
        *(
            (name, None)
            for name in ("trainer", "latest", "testers", "trains", "cat", "1", "", "data", "values")
        ),
    ],
)
def test_the_usual_names_of_parts(name, part):
    assert part_named(name) == part


@pytest.mark.parametrize(
    ("train", "held", "part"),
    [
        ("Train", "Val", "validation"),
        ("training", "validation", "validation"),
        ("TRAIN", "valid", "validation"),
        ("train", "dev", "validation"),
        ("training_set", "test_set", "test"),
        ("Training", "Testing", "test"),
    ],
)
def test_folders_that_are_parts(tmp_path, train, held, part):
    made(tmp_path, f"{train}/cat", f"{train}/dog", f"{held}/cat", f"{held}/dog")
    found = read(tmp_path)
    assert found.classes == ("cat", "dog") and found.notes == [] and found.unused == []
    assert members(found, tmp_path) == sorted(
        (name, label, f"{folder}/{label}")
        for name, folder in (("train", train), (part, held))
        for label in ("cat", "dog")
    )


def test_an_eval_folder_is_what_the_others_leave(tmp_path):
    made(tmp_path, "train/a", "train/b", "eval/a", "eval/b")
    with pytest.raises(ValueError, match=r"'eval'.*may be for validation.*or for the test.*Call it"):
        read(tmp_path)
    made(tmp_path, "val/a", "val/b")
    assert ("test", "a", "eval/a") in members(read(tmp_path), tmp_path)
    (tmp_path / "val").rename(tmp_path / "test")
    assert ("validation", "a", "eval/a") in members(read(tmp_path), tmp_path)


def test_two_names_for_one_part_are_refused(tmp_path):
    made(tmp_path, "train/a", "train/b", "val/a", "valid/b")
    with pytest.raises(ValueError, match="'val' and 'valid', which both mean validation"):
        read(tmp_path)


@pytest.mark.parametrize("places", [("a/x", "b/x"), ("a/cat", "a/dog", "b/cat", "b/dog"), ("a/1/x", "b/2/X")])
def test_one_folder_too_many_is_refused_and_both_readings_are_shown(tmp_path, places):
    made(tmp_path, *places)
    with pytest.raises(ValueError, match=r'two readings.*\(a, b\).*layout="classes".*--layout groups'):
        read(tmp_path)
    found = read(tmp_path, "classes")
    assert found.classes == ("a", "b") and len(found.members) == 2
    made(tmp_path / "more", *(f"train/{place}" for place in places), "val/a/other")
    with pytest.raises(ValueError, match="two readings"):
        read(tmp_path / "more")


def test_groups_are_put_together(tmp_path):
    made(tmp_path, "a/cat", "a/dog", "b/cat", "b/dog", "b")
    found = read(tmp_path, "groups")
    assert found.classes == ("cat", "dog") and len(found.members) == 4 and len(found.unused) == 2
    made(tmp_path / "parts", "train/a/cat", "train/b/cat", "train/b/dog", "test/c/cat", "test/c/dog")
    found = read(tmp_path / "parts", "groups")
    assert found.classes == ("cat", "dog")
    assert [part for part, *_ in found.members] == [0, 0, 0, 2, 2]
    with pytest.raises(ValueError, match=r'layout="groups" takes the folders in the folders'):
        read(made(tmp_path / "flat", "cat", "dog"), "groups")
    with pytest.raises(ValueError, match="layout is one of classes, groups, or None; received 'parts'"):
        read(tmp_path, "parts")


def test_folders_below_a_class_belong_to_it(tmp_path):
    made(tmp_path, "cat", "cat/2020", "dog/2021")
    found = read(tmp_path)
    assert found.classes == ("cat", "dog")
    assert [len(folder.all_files()) for *_, folder in found.members] == [4, 2]


def test_a_test_folder_of_loose_files_is_left_out_with_a_word(tmp_path):
    made(tmp_path, "train/cat", "train/dog", "test")
    found = read(tmp_path)
    assert {part for part, *_ in found.members} == {0} and len(found.unused) == 2
    assert "test has no folders for classes, so it is left out" in found.notes[0]
    assert "2 images lie in no folder of a class" in found.notes[1]


def test_loose_files_beside_classes_are_counted(tmp_path):
    made(tmp_path, "cat", "dog", ".", count=3)
    found = read(tmp_path)
    assert len(found.unused) == 3 and "3 images lie in no folder" in found.notes[0]
    shutil.rmtree(tmp_path / "cat")
    shutil.rmtree(tmp_path / "dog")
    with pytest.raises(ValueError, match="has 3 images and no folders: .*CSV"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["test", "Val", "train"])
def test_a_class_with_the_name_of_a_part_has_two_readings(tmp_path, name):
    made(tmp_path, "cat", "dog", name)
    with pytest.raises(
        ValueError, match=rf"'{name}' beside cat, dog.*two readings.*layout=\"classes\".*'train'"
    ):
        read(tmp_path)
    assert set(read(tmp_path, "classes").classes) == {"cat", "dog", name}


def test_parts_without_one_for_training_or_without_classes_are_refused(tmp_path):
    made(tmp_path / "a", "val/cat", "val/dog", "test/cat", "test/dog")
    with pytest.raises(ValueError, match="named as parts .*no folder 'train'"):
        read(tmp_path / "a")
    made(tmp_path / "b", "train", "test")
    with pytest.raises(ValueError, match="loose images and no folders for classes"):
        read(tmp_path / "b")


def test_a_train_folder_decides_and_others_are_left_out_with_a_word(tmp_path):
    made(tmp_path, "train/cat", "train/test", "extra/cat")
    found = read(tmp_path)
    assert found.classes == ("cat", "test") and len(found.unused) == 2
    assert any("extra is left out" in note for note in found.notes)


def test_a_folder_around_all_is_opened_with_a_word(tmp_path):
    made(tmp_path, "pets/cat", "pets/dog")
    found = read(tmp_path)
    assert found.classes == ("cat", "dog") and "'pets': its folders are taken" in found.notes[0]
    made(tmp_path / "b", "archive/train/cat", "archive/train/dog", "archive/test/cat", "archive/test/dog")
    assert len(read(tmp_path / "b").members) == 4
    # each part of some data sets has a folder of its own name in it
    made(tmp_path / "c", *(f"{p}/{p}_a/{c}" for p in ("train", "test") for c in ("cat", "dog")))
    found = read(tmp_path / "c")
    assert found.classes == ("cat", "dog") and len(found.members) == 4 and len(found.notes) == 2
    assert read(made(tmp_path / "d", "train/cat", "train/dog")).notes == []
    made(tmp_path / "e", *(f"{p}_set/{p}_set/{c}" for p in ("training", "test") for c in ("cat", "dog")))
    found = read(tmp_path / "e")
    assert found.classes == ("cat", "dog") and [part for part, *_ in found.members] == [0, 0, 2, 2]


def test_classes_differ_between_parts(tmp_path):
    made(tmp_path, "train/Cat", "train/dog", "test/cat", "test/dog")
    with pytest.raises(ValueError, match=r"lacks: \['cat'\]. Near 'cat' is 'cat', case aside"):
        read(tmp_path)
    shutil.rmtree(tmp_path / "test" / "cat")
    assert read(tmp_path).notes == [f"{tmp_path / 'test'} has no image of Cat."]
