"""Data sets of tensorflow-datasets, against the rows that they were made of."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tfds_sets import picture, prepared

from kerasft.data import kind_of, load_dataset, load_texts

CLASSES = tfds.features.ClassLabel(names=["a", "b"])
PICTURE = tfds.features.Image(shape=(4, 4, 3))
TEXT = tfds.features.Text()


def firsts(part):
    """The first pixel of each picture, which is its number, and its label."""
    return sorted((int(x[0, 0, 0]), int(label)) for images, y in part for x, label in zip(images, y.numpy()))


def strings(part):
    return sorted((text.decode(), int(label)) for x, y in part for text, label in zip(x.numpy(), y.numpy()))


def pictures(begin, count, key="image", label="label", **more):
    return [{key: picture(i), label: i % 2, **more} for i in range(begin, begin + count)]


def numbered(begin, count):
    return [(i, i % 2) for i in range(begin, begin + count)]


def test_splits_are_known_by_their_usual_names(tmp_path):
    rows = {"train": pictures(0, 8), "val": pictures(20, 4), "testing": pictures(40, 6)}
    rows["extra"] = pictures(60, 5)
    builder = prepared(tmp_path, "kerasft_splits", {"image": PICTURE, "label": CLASSES}, rows)
    for source in (builder, "tfds:kerasft_splits", "tfds:kerasft_splits:1.0.0"):
        data = load_dataset(source, image_size=4, data_dir=tmp_path)
        assert firsts(data.train) == numbered(0, 8)
        assert firsts(data.validation) == numbered(20, 4) and firsts(data.test) == numbered(40, 6)
        assert data.class_names == ("a", "b") and kind_of(source, tmp_path) == "images"
        assert [note for note in data.notes if "['extra'] are left out" in note]
    assert load_dataset(builder, image_size=4).name == "tfds:kerasft_splits/1.0.0"


def test_a_training_split_alone_is_divided_by_hash(tmp_path):
    builder = prepared(
        tmp_path, "kerasft_alone", {"image": PICTURE, "label": CLASSES}, {"train": pictures(0, 40)}
    )
    data, other = (load_dataset(builder, image_size=4, seed=seed) for seed in (0, 1))
    parts = [firsts(part) for part in (data.train, data.validation, data.test)]
    assert sorted(parts[0] + parts[1] + parts[2]) == numbered(0, 40) and all(parts)
    assert data.split == other.split and firsts(other.test) == parts[2]


@pytest.mark.parametrize("name", ["test", "everything"])
def test_a_single_split_is_divided_whatever_its_name_is(name, tmp_path):
    features, rows = {"image": PICTURE, "label": CLASSES}, {name: pictures(0, 40)}
    data = load_dataset(prepared(tmp_path, "kerasft_one", features, rows), image_size=4)
    parts = [firsts(part) for part in (data.train, data.validation, data.test)]
    assert sorted(parts[0] + parts[1] + parts[2]) == numbered(0, 40) and all(parts)
    assert [note for note in data.notes if f"The only split, '{name}', is divided" in note]
    alone = prepared(tmp_path / "train", "kerasft_one", features, {"train": pictures(0, 40)})
    assert firsts(load_dataset(alone, image_size=4).test) == parts[2]  # the rule is that of a training split


def test_several_splits_without_one_for_training_are_refused(tmp_path):
    rows = {"validation": pictures(0, 8), "test": pictures(20, 8)}
    builder = prepared(tmp_path, "kerasft_no_train", {"image": PICTURE, "label": CLASSES}, rows)
    with pytest.raises(
        ValueError, match=r"no split `train`, but \['validation', 'test'\].* Write the images"
    ):
        load_dataset(builder, image_size=4)


def test_supervised_keys_say_what_is_the_label(tmp_path):
    features = {"photo": PICTURE, "coarse": CLASSES, "fine": tfds.features.ClassLabel(num_classes=3)}
    rows = {"train": [{"photo": picture(i), "coarse": i % 2, "fine": i % 3} for i in range(30)]}
    with_keys = prepared(tmp_path, "kerasft_keys", features, rows, ("photo", "fine"))
    data = load_dataset(with_keys, image_size=4)
    assert data.class_names == ("0", "1", "2")
    found = firsts(data.train) + firsts(data.validation) + firsts(data.test)
    assert sorted(found) == [(i, i % 3) for i in range(30)]
    without = prepared(tmp_path, "kerasft_no_keys", features, rows)
    with pytest.raises(ValueError, match=r"class label it has several, coarse and fine.*photo \(Image\)"):
        load_dataset(without, image_size=4)


def test_the_only_image_and_the_only_label_need_no_keys(tmp_path):
    features = {
        "scan": PICTURE,
        "mask": tfds.features.LabeledImage(labels=2, shape=(4, 4, 1)),
        "kind": CLASSES,
        "image/filename": TEXT,
        "age": tfds.features.Scalar(np.int64),
    }
    mask = np.zeros((4, 4, 1), "uint8")
    more = {"mask": mask, "image/filename": "x.png", "age": 3}
    rows = {"train": pictures(0, 12, "scan", "kind", **more), "test": pictures(12, 4, "scan", "kind", **more)}
    builder = prepared(tmp_path, "kerasft_only", features, rows)
    assert kind_of(builder) == "images"
    assert firsts(load_dataset(builder, image_size=4).test) == numbered(12, 4)


def test_a_set_without_a_class_label_is_refused_with_its_features(tmp_path):
    features = {"image": PICTURE, "age": tfds.features.Scalar(np.int64)}
    rows = {"train": [{"image": picture(i), "age": i} for i in range(4)]}
    builder = prepared(tmp_path, "kerasft_ages", features, rows, ("image", "age"))
    with pytest.raises(
        ValueError, match=r"class label it has none. Its features are image \(Image\), age \(Scalar\)"
    ):
        load_dataset(builder, image_size=4)
    with pytest.raises(ValueError, match="of the kind text it has none"):
        load_texts(builder)


def test_what_has_no_label_is_left_out_and_counted(tmp_path):
    hidden = [{"image": picture(i), "label": -1} for i in range(90, 95)]
    rows = {"train": pictures(0, 30), "test": hidden}
    builder = prepared(tmp_path, "kerasft_hidden", {"image": PICTURE, "label": CLASSES}, rows)
    data = load_dataset(builder, image_size=4)
    found = firsts(data.train) + firsts(data.validation) + firsts(data.test)
    assert sorted(found) == numbered(0, 30) and data.test_size > 0
    assert [note for note in data.notes if "5 images have no label (-1)" in note]


def reviews(begin, count):
    return [{"review": f"the film {i} — good", "label": i % 2} for i in range(begin, begin + count)]


def test_texts(tmp_path):
    rows = {"train": reviews(0, 20), "test": reviews(20, 6), "unsupervised": reviews(30, 3)}
    features = {"review": TEXT, "label": CLASSES}
    keyed = prepared(tmp_path, "kerasft_reviews", features, rows, ("review", "label"))
    plain = prepared(tmp_path, "kerasft_plain_reviews", features, rows)
    for source in (keyed, plain, "tfds:kerasft_reviews"):
        assert kind_of(source, tmp_path) == "text"
        data = load_texts(source, data_dir=tmp_path)
        assert strings(data.test) == [(f"the film {i} — good", i % 2) for i in range(20, 26)]
        assert data.train_size + data.validation_size == 20 and data.class_names == ("a", "b")
        assert [note for note in data.notes if "['unsupervised']" in note]
    with pytest.raises(ValueError, match="of the kind image it has none"):
        load_dataset(keyed)


def test_two_texts_are_two_readings_and_a_text_beside_an_image_as_well(tmp_path):
    pair = {"premise": TEXT, "hypothesis": TEXT, "label": CLASSES}
    row = {"premise": "x", "hypothesis": "y", "label": 0}
    builder = prepared(tmp_path, "kerasft_pairs", pair, {"train": [row]})
    with pytest.raises(ValueError, match="several, premise and hypothesis|several, hypothesis and premise"):
        load_texts(builder)
    features = {"image": PICTURE, "caption": TEXT, "label": CLASSES}
    rows = {"train": [{**row, "caption": f"number {row['image'][0, 0, 0]}"} for row in pictures(0, 30)]}
    both = prepared(tmp_path, "kerasft_captions", features, rows)
    with pytest.raises(ValueError, match=r"images \(image\) and texts \(caption\).*--as images"):
        kind_of(both)
    assert load_dataset(both, image_size=4).train_size > 0 and load_texts(both).train_size > 0
    keyed = prepared(tmp_path, "kerasft_keyed_captions", features, rows, ("caption", "label"))
    assert kind_of(keyed) == "text"


@pytest.mark.parametrize("load", [load_dataset, load_texts, kind_of])
def test_a_name_that_is_none_says_how_to_write_one(load):
    for source in ("tfds:", "tfds: "):
        with pytest.raises(ValueError, match=r"names no data set.*tfds:NAME/CONFIG.*tfds:imdb_reviews"):
            load(source)
    with pytest.raises(ValueError, match=r"can't open 'mnist:9'(.|\n)*Write tfds:NAME"):
        load("tfds:mnist:9")
    with pytest.raises(ValueError, match=r"can't open 'imdb_reviews/foo'(.|\n)*foo not found"):
        load("tfds:imdb_reviews/foo")


def image_folder(root):
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                image = Image.fromarray(rng.integers(0, 255, (9, 12, 3)).astype("uint8"))
                exif = Image.Exif()
                exif[0x0112] = 6 if i % 2 else 1  # to be turned by a quarter
                image.save(root / split / name / f"{i}.jpg", exif=exif)
    return root


def test_an_image_folder_is_read_as_its_folder(tmp_path):
    root = image_folder(tmp_path / "data")
    builder = tfds.folder_dataset.ImageFolder(str(root))
    data, by_path = (load_dataset(source, image_size=8) for source in (builder, root))
    assert kind_of(builder) == kind_of(root) == "images"
    assert data.class_names == ("cat", "dog") == tuple(builder.info.features["label"].names)
    assert data.test_size == builder.info.splits["test"].num_examples == 8
    assert data.split == by_path.split and data.name == by_path.name == str(root)
    for (x, y), (a, b) in zip(data.test, by_path.test, strict=True):
        np.testing.assert_array_equal(x, a)
        np.testing.assert_array_equal(y, b)
    assert [note for note in data.notes if "turned upright" in note]


def test_damaged_files_of_an_image_folder(tmp_path):
    root = image_folder(tmp_path / "data")
    (root / "train" / "cat" / "0.jpg").write_bytes(b"no picture")
    builder = tfds.folder_dataset.ImageFolder(str(root))
    with pytest.raises(ValueError, match="1 of 32 images can't be read"):
        load_dataset(builder, image_size=8)
    assert load_dataset(builder, image_size=8, skip_corrupt=True).skipped == (root / "train/cat/0.jpg",)


def test_classes_that_the_builder_has_otherwise_are_refused(tmp_path):
    root = image_folder(tmp_path / "data")
    builder = tfds.folder_dataset.ImageFolder(str(root))
    (root / "train" / "cat").rename(root / "train" / "owl")
    (root / "test" / "cat").rename(root / "test" / "owl")
    with pytest.raises(ValueError, match=r"has the classes \['dog', 'owl'\].*\['cat', 'dog'\]"):
        load_dataset(builder, image_size=8)
