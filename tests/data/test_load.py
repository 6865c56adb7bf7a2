"""Labelled images from digits, folders and TFDS."""

import gzip

import numpy as np
import pytest
import tensorflow as tf

from kerasft.data import fashion_mnist
from kerasft.data.load import load_dataset


def rows(dataset):
    batches = list(dataset)
    return np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches])


def write_images(root, classes=("cat", "dog"), count=10, suffix=".png", seed=0):
    rng = np.random.default_rng(seed)
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(count):
            image = rng.integers(0, 100, (6, 5, 3)) + 100 * label
            encode = tf.io.encode_png if suffix.lower() == ".png" else tf.io.encode_jpeg
            (root / name / f"{i}{suffix}").write_bytes(encode(image.astype("uint8")).numpy())
    return root


def test_digits_are_divided_by_class_without_overlap():
    loaded = load_dataset("digits", image_size=16, batch_size=64)
    assert (loaded.train_size, loaded.validation_size, loaded.test_size) == (1306, 146, 345)
    assert loaded.class_names == tuple("0123456789")
    parts = [rows(d) for d in (loaded.train, loaded.validation, loaded.test)]
    for images, labels in parts:
        assert images.shape[1:] == (16, 16, 3) and images.dtype == np.float32
        assert images.min() >= 0 and 200 < images.max() <= 255
        counts = np.bincount(labels, minlength=10)
        assert counts.min() >= 0.5 * counts.mean()
    seen = [{image.tobytes() for image in images} for images, _ in parts]
    assert not seen[0] & seen[2] and not seen[1] & seen[2]


def test_order_is_new_in_training_and_fixed_elsewhere():
    loaded = load_dataset("digits", image_size=8, limit=100)
    again = load_dataset("digits", image_size=8, limit=100)
    assert np.array_equal(rows(loaded.test)[0], rows(again.test)[0])
    assert np.array_equal(rows(loaded.test)[1], rows(loaded.test)[1])
    first, second = rows(loaded.train)[1], rows(loaded.train)[1]
    assert not np.array_equal(first, second)
    assert np.array_equal(np.sort(first), np.sort(second))
    other = load_dataset("digits", image_size=8, limit=100, seed=1)
    assert not np.array_equal(rows(loaded.test)[0], rows(other.test)[0])  # the limit chooses others, …
    whole = {image.tobytes() for image in rows(load_dataset("digits", image_size=8).test)[0]}
    assert {image.tobytes() for image in rows(other.test)[0]} <= whole  # … of the same part


@pytest.mark.parametrize("suffix", [".png", ".JPG"])
def test_a_folder_of_class_folders(tmp_path, suffix):
    root = write_images(tmp_path / "pets", suffix=suffix)
    (root / "cat" / "notes.txt").write_text("not an image")
    (root / ".hidden").mkdir()
    loaded = load_dataset(root, image_size=8)
    assert loaded.class_names == ("cat", "dog")
    assert loaded.train_size + loaded.validation_size + loaded.test_size == 20
    images, labels = rows(loaded.test)
    assert np.all((images.mean(axis=(1, 2, 3)) > 95) == (labels == 1))


def test_folders_for_train_and_test_are_kept(tmp_path):
    write_images(tmp_path / "train", count=10)
    write_images(tmp_path / "test", count=3, seed=1)
    loaded = load_dataset(tmp_path, image_size=8)
    assert loaded.train_size + loaded.validation_size == 20 and loaded.validation_size >= 2
    assert loaded.test_size == 6
    write_images(tmp_path / "val", count=4, seed=2)
    assert load_dataset(tmp_path, image_size=8).validation_size == 8


def test_a_corrupt_image_is_named_or_skipped(tmp_path):
    root = write_images(tmp_path)
    bad = root / "dog" / "3.png"
    bad.write_bytes(bad.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"1 of 20 images.*--skip-corrupt[\s\S]*dog/3.png"):
        load_dataset(root, image_size=8)
    loaded = load_dataset(root, image_size=8, skip_corrupt=True)
    assert loaded.skipped == (bad,)
    assert loaded.train_size + loaded.validation_size + loaded.test_size == 19
    assert len(rows(loaded.train)[0]) == loaded.train_size


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda root: None, FileNotFoundError, "no folder"),
        (lambda root: write_images(root, classes=("cat",)), ValueError, "one class only"),
        (lambda root: (write_images(root), (root / "empty").mkdir()), ValueError, "empty holds no image"),
        (lambda root: root.mkdir(), ValueError, "no folders"),
        (lambda root: write_images(root, count=1), ValueError, r"Too few images.*\['cat', 'dog'\]"),
    ],
)
def test_bad_folders(tmp_path, make, error, message):
    make(tmp_path / "root")
    with pytest.raises(error, match=message):
        load_dataset(tmp_path / "root", image_size=8)


def test_fractions_and_limits_are_checked():
    with pytest.raises(ValueError, match="test_fraction"):
        load_dataset("digits", test_fraction=1.5)
    with pytest.raises(ValueError, match="limit=5 is too few"):
        load_dataset("digits", limit=5)


def test_an_unknown_tfds_name_gives_near_ones():
    with pytest.raises(ValueError, match=r"no data set 'mnits'.*mnist"):
        load_dataset("tfds:mnits")


def test_a_tfds_builder_is_read(tmp_path):
    import tensorflow_datasets as tfds

    class Tiny(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        name = "kerasft_tiny"

        def _info(self):
            features = tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(4, 4, 1)),
                    "label": tfds.features.ClassLabel(names=["a", "b"]),
                }
            )
            return self.dataset_info_from_configs(features=features)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(20), "test": self._generate_examples(6)}

        def _generate_examples(self, count):
            for i in range(count):
                yield i, {"image": np.full((4, 4, 1), 100 * (i % 2) + 3 * i + count, "uint8"), "label": i % 2}

    loaded = load_dataset("tfds:kerasft_tiny", image_size=8, data_dir=tmp_path)
    assert loaded.class_names == ("a", "b")
    assert loaded.train_size + loaded.validation_size == 20 and loaded.test_size == 6
    images, labels = rows(loaded.test)
    assert images.shape == (6, 8, 8, 3)
    assert np.all((images[:, 0, 0, 0] > 100) == (labels == 1))


def test_a_failed_download_says_what_to_do(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    def refuse(*args, **kwargs):
        raise OSError("no route")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", refuse)
    with pytest.raises(ConnectionError, match=r"no route.*--data-dir"):
        load_dataset("tfds:mnist", data_dir=tmp_path)


def idx(path, array):
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(gzip.compress(head + array.astype("uint8").tobytes()))


def test_fashion_mnist_from_its_original_files(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 60), ("t10k", 20)):
        idx(tmp_path / f"{split}-images-idx3-ubyte.gz", rng.integers(0, 255, (count, 28, 28)))
        idx(tmp_path / f"{split}-labels-idx1-ubyte.gz", np.arange(count) % 10)
    loaded = load_dataset("tfds:fashion_mnist", image_size=28, data_dir=tmp_path)
    assert (loaded.train_size, loaded.validation_size, loaded.test_size) == (50, 10, 20)
    images, _ = rows(loaded.test)
    expected = fashion_mnist.read_idx(tmp_path / "t10k-images-idx3-ubyte.gz")
    np.testing.assert_allclose(images[..., 0], expected, atol=1e-4)
    whole = gzip.decompress((tmp_path / "t10k-images-idx3-ubyte.gz").read_bytes())
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(whole[:-5]))
    with pytest.raises(ValueError, match="damaged"):
        load_dataset("tfds:fashion_mnist", data_dir=tmp_path)


@pytest.mark.skipif(
    not fashion_mnist.DEBIAN_FOLDER.is_dir(),
    reason="Debian's package dataset-fashion-mnist is not installed",
)
def test_the_real_fashion_mnist():
    loaded = load_dataset("tfds:fashion_mnist", image_size=28, limit=700)
    assert loaded.class_names[9] == "Ankle boot"
    assert loaded.train_size + loaded.validation_size == 600 and loaded.test_size == 100
