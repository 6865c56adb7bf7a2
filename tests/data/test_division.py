"""Each picture's part follows from its own bytes."""

import hashlib
import shutil

import numpy as np
import pytest
from pictures import write_classes

from kerasft.data import Split, load_dataset

FRACTIONS = {"image_size": 8, "test_fraction": 0.2, "validation_fraction": 0.25}


def by_hand(path):
    """Below 0.2 of the hash's range test, below 0.2 + 0.8 * 0.25 = 0.4 validation, above it train."""
    share = int(hashlib.sha256(path.read_bytes()).hexdigest(), 16) / 2**256
    return "test" if share < 0.2 else "validation" if share < 0.4 else "train"


def expected(root):
    return {hashlib.sha256(p.read_bytes()).hexdigest(): by_hand(p) for p in root.rglob("*.png")}


def sizes(data):
    return data.train_size, data.validation_size, data.test_size


def test_the_part_of_a_file_is_that_of_its_hash(tmp_path):
    root = write_classes(tmp_path / "pets", count=40)
    data = load_dataset(root, **FRACTIONS)
    assert dict(data.split.parts) == expected(root)
    assert sizes(data) == tuple(data.split.counts.values()) and sum(sizes(data)) == 80
    assert data.notes == ()


@pytest.mark.parametrize("choice", [{"seed": 7}, {"limit": 20}, {"limit": 20, "seed": 7}])
def test_seed_and_limit_move_no_file(tmp_path, choice):
    root = write_classes(tmp_path / "pets", count=40)
    whole, other = load_dataset(root, **FRACTIONS), load_dataset(root, **FRACTIONS, **choice)
    assert whole.split == other.split

    def seen(dataset):
        return {image.tobytes() for images, _ in dataset for image in images.numpy()}

    for part in ("train", "validation", "test"):
        assert seen(getattr(other, part)) <= seen(getattr(whole, part))
    if "limit" in choice:
        assert 16 <= sum(sizes(other)) <= 24 and min(sizes(other)) >= 2


def test_a_new_picture_another_name_and_another_folder_move_no_file(tmp_path):
    root = write_classes(tmp_path / "pets", count=40)
    before = load_dataset(root, **FRACTIONS).split.parts
    write_classes(tmp_path / "more", count=3, seed=1)
    for i in range(3):
        shutil.copy(tmp_path / "more" / "cat" / f"{i}.png", root / "cat" / f"_{i}.png")
    for i in range(10):
        (root / "dog" / f"{i}.png").rename(root / "dog" / f"z{i}.png")
    root = root.rename(tmp_path / "elsewhere")
    after = load_dataset(root, **FRACTIONS).split.parts
    assert len(after) == 83 and {d: after[d] for d in before} == dict(before)


def test_copies_are_in_one_part(tmp_path):
    root = write_classes(tmp_path / "pets", count=10)
    for i in range(10):
        for k in range(3):
            shutil.copy(root / "cat" / f"{i}.png", root / "cat" / f"copy_{k}_of_{i}.png")
    data = load_dataset(root, **FRACTIONS)
    parts = [{image.tobytes() for x, _ in part for image in x.numpy()} for part in (data.train, data.test)]
    assert not parts[0] & parts[1] and sum(sizes(data)) == 50 and len(data.split) == 20


def test_a_copy_in_another_class_is_counted(tmp_path):
    root = write_classes(tmp_path / "pets", count=10)
    shutil.copy(root / "cat" / "4.png", root / "dog" / "also.png")
    data = load_dataset(root, **FRACTIONS)
    (note,) = data.notes
    assert note.startswith("1 images have two labels") and "4.png" in note and "also.png" in note


def test_a_copy_in_two_parts_of_the_folder_is_held_out_and_counted(tmp_path):
    write_classes(tmp_path / "train", count=10)
    write_classes(tmp_path / "test", count=4, seed=1)
    assert load_dataset(tmp_path, image_size=8).notes == ()
    for i in range(3):
        shutil.copy(tmp_path / "train" / "cat" / f"{i}.png", tmp_path / "test" / "cat" / f"t{i}.png")
    data = load_dataset(tmp_path, image_size=8)
    assert data.test_size == 11 and data.train_size + data.validation_size == 17
    (note,) = data.notes
    assert note.startswith("3 images of the source's own training") and "0.png" in note
    shutil.rmtree(tmp_path / "test" / "cat")
    shutil.copytree(tmp_path / "train" / "cat", tmp_path / "test" / "cat")
    with pytest.raises(ValueError, match="No image is left to train the class 'cat'|Too few"):
        load_dataset(tmp_path, image_size=8)


def test_a_small_class_has_an_image_in_each_part(tmp_path):
    for seed in range(6):
        root = write_classes(tmp_path / str(seed), count=3, seed=seed)
        data = load_dataset(root, image_size=8)
        for part in (data.train, data.validation, data.test):
            assert sorted(y for _, labels in part for y in labels.numpy().tolist()) == [0, 1]
        # the lowest number is the test's, the highest is trained on
        for name in ("cat", "dog"):
            hashes = sorted(hashlib.sha256(p.read_bytes()).hexdigest() for p in (root / name).iterdir())
            found = [data.split.parts[h] for h in hashes]
            assert sorted(found) == ["test", "train", "validation"]
    many = [f"class {i:02}" for i in range(25)]  # as where a column of numbers was taken for the label
    with pytest.raises(ValueError, match=r"'class 09'\] and 15 more have fewer than 3") as raised:
        load_dataset(write_classes(tmp_path / "many", many, count=1), image_size=8)
    assert "'class 24'" not in str(raised.value)
    root = write_classes(tmp_path / "two", count=2)
    with pytest.raises(ValueError, match=r"Too few images.*\['cat', 'dog'\].*fewer than 3 different"):
        load_dataset(root, image_size=8)


def test_a_given_split_fixes_what_it_knows(tmp_path):
    root = write_classes(tmp_path / "pets", count=20)
    by_hash = load_dataset(root, **FRACTIONS).split
    fixed = {h: "test" for h, part in by_hash.parts.items() if part == "train"}
    fixed = dict(list(fixed.items())[:12])
    data = load_dataset(root, **FRACTIONS, split=Split(fixed))
    assert dict(data.split.parts) == dict(by_hash.parts) | fixed
    assert data.test_size == by_hash.counts["test"] + 12
    gone = Split({"f" * 64: "train"})
    assert load_dataset(root, **FRACTIONS, split=gone).split.parts == {**by_hash.parts, "f" * 64: "train"}


def test_a_given_split_stands_above_the_folders(tmp_path):
    write_classes(tmp_path / "train", count=10)
    write_classes(tmp_path / "test", count=4, seed=1)
    trained_on = hashlib.sha256((tmp_path / "test" / "dog" / "2.png").read_bytes()).hexdigest()
    data = load_dataset(tmp_path, image_size=8, split=Split({trained_on: "train"}))
    assert data.test_size == 7 and data.split.parts[trained_on] == "train"
    assert any("1 images have the part that the given split says" in note for note in data.notes)
    with pytest.raises(TypeError, match="split is a Split, as Split.from_json"):
        load_dataset(tmp_path, split="split.json")


def test_digits_are_known_by_their_pixels():
    first, second = (load_dataset("digits", image_size=8, seed=seed).split for seed in (0, 1))
    assert first == second and len(first) == 1797
    assert abs(np.mean([part == "test" for part in first.parts.values()]) - 0.2) < 0.03
