"""Labelled images as tf.data: a TFDS data set, a folder of class folders, or scikit-learn's digits."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import difflib
import gzip
import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

logger = logging.getLogger(__name__)

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
_CACHE_BYTES = 1_000_000_000


@dataclass(frozen=True)
class ImageData:
    """Images and labels, divided.

    Attributes:
        train: Batches of (images, labels): float32 of shape (batch, height, width, 3) from 0 to 255, and
            int32 of shape (batch,). In a new order in each pass.
        validation: The same in a fixed order, for decisions during training.
        test: The same in a fixed order, touched by no decision.
        class_names: Name of each label.
        name: What was loaded.
        train_size: Number of training images.
        validation_size: Number of validation images.
        test_size: Number of test images.
        skipped: Files that could not be read and were left out.
    """

    train: tf.data.Dataset
    validation: tf.data.Dataset
    test: tf.data.Dataset
    class_names: tuple[str, ...]
    name: str
    train_size: int
    validation_size: int
    test_size: int
    skipped: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Source:
    """Images still to be read, their labels, and the part of each: 0 train, 1 validation, 2 test."""

    images: np.ndarray
    labels: np.ndarray
    read: Callable[[tf.Tensor], tf.Tensor]
    class_names: tuple[str, ...]
    parts: np.ndarray
    skipped: tuple[Path, ...] = ()


def load_dataset(
    source: str | os.PathLike[str],
    *,
    image_size: int = 224,
    batch_size: int = 32,
    seed: int = 0,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    limit: int | None = None,
    skip_corrupt: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
) -> ImageData:
    """Load labelled images, and divide them by class into training, validation and test images.

    Args:
        source: "digits" (scikit-learn's 1,797 digits), "tfds:NAME", or a folder with a folder of images for
            each class, or with such folders in `train`, `test` and, if there is one, `validation`.
        image_size: Side of the square images in pixels; they are resized bilinearly.
        batch_size: Images in a batch.
        seed: Seed of the division and of the order in training.
        validation_fraction: Share of the images that are not test images.
        test_fraction: Share of all images, if the source has no test images of its own.
        limit: Use about that many images, of all classes alike.
        skip_corrupt: Leave out images that can't be decoded instead of raising.
        data_dir: Where tensorflow-datasets keeps its files; for `tfds:fashion_mnist` also a folder with the
            four original files.

    Returns:
        The divided images.

    Raises:
        FileNotFoundError: The folder does not exist.
        ImportError: scikit-learn is not installed.
        ConnectionError: A TFDS data set can't be downloaded.
        ValueError: One class only, a class without images or with too few to be divided, an image that
            can't be decoded (the message names it), or a data set without images and labels.

    Example:
        >>> data = load_dataset("digits", image_size=32)
        >>> data.train_size, data.validation_size, data.test_size
        (1294, 144, 359)
    """
    for name, fraction in (("validation_fraction", validation_fraction), ("test_fraction", test_fraction)):
        if not 0 < fraction < 1:
            raise ValueError(f"{name} lies between 0 and 1; received {fraction!r}.")
    text = os.fspath(source)
    if text == "digits":
        found = _digits()
    elif text.startswith("tfds:"):
        found = _tfds(text.removeprefix("tfds:"), data_dir)
    else:
        found = _folder(Path(text), skip_corrupt)
    if len(found.class_names) < 2:
        raise ValueError(f"{text} has one class only ({found.class_names[0]!r}); a classifier needs two.")
    rng = np.random.default_rng(seed)
    found = _limited(found, limit, rng)
    parts = _divide(found, validation_fraction, test_fraction, rng)

    def pipeline(part: int) -> tf.data.Dataset:
        rows = np.flatnonzero(parts == part)
        data = tf.data.Dataset.from_tensor_slices((found.images[rows], found.labels[rows]))
        data = data.map(
            lambda image, label: (_resize(found.read(image), image_size), label),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        if len(rows) * image_size * image_size * 12 < _CACHE_BYTES:
            data = data.cache()
        if part == 0:
            data = data.shuffle(min(len(rows), 10_000), seed=seed, reshuffle_each_iteration=True)
        return data.batch(batch_size).prefetch(tf.data.AUTOTUNE)

    return ImageData(
        train=pipeline(0),
        validation=pipeline(1),
        test=pipeline(2),
        class_names=found.class_names,
        name=text,
        train_size=int(np.sum(parts == 0)),
        validation_size=int(np.sum(parts == 1)),
        test_size=int(np.sum(parts == 2)),
        skipped=found.skipped,
    )


def _resize(image: tf.Tensor, size: int) -> tf.Tensor:
    image = tf.image.resize(tf.cast(image, tf.float32), (size, size), antialias=True)
    if image.shape[-1] == 1:
        image = tf.image.grayscale_to_rgb(image)
    return tf.ensure_shape(image[..., :3], (size, size, 3))


def _limited(found: _Source, limit: int | None, rng: np.random.Generator) -> _Source:
    if limit is None or limit >= len(found.labels):
        return found
    if limit < 2 * len(found.class_names):
        raise ValueError(f"limit={limit} is too few for {len(found.class_names)} classes.")
    rows = rng.permutation(len(found.labels))
    keep: list[int] = []
    for part in np.unique(found.parts):
        share = max(1, round(limit * float(np.mean(found.parts == part))))
        by_class = [
            rows[(found.labels[rows] == c) & (found.parts[rows] == part)]
            for c in range(len(found.class_names))
        ]
        each = max(1, share // len(by_class))
        keep += [int(i) for group in by_class for i in group[:each]]
    chosen = np.sort(np.array(keep))
    return dataclasses.replace(
        found, images=found.images[chosen], labels=found.labels[chosen], parts=found.parts[chosen]
    )


def _divide(
    found: _Source, validation_fraction: float, test_fraction: float, rng: np.random.Generator
) -> np.ndarray:
    """0 for training, 1 for validation, 2 for test; what the source has not divided (-1, 0) by class."""
    parts = found.parts.copy()
    for wanted, fraction, missing in (
        (2, test_fraction, not np.any(parts == 2)),
        (1, validation_fraction, not np.any(parts == 1)),
    ):
        if not missing:
            continue
        pool = np.flatnonzero(parts == 0)
        total = round(len(pool) * fraction)
        groups = [pool[found.labels[pool] == c] for c in range(len(found.class_names))]
        few = [found.class_names[c] for c, group in enumerate(groups) if len(group) < 2]
        if few:
            raise ValueError(
                f"Too few images to divide them: the classes {few} have fewer than two for training and "
                "the rest. Add images, or leave these classes out."
            )
        exact = np.array([len(group) * fraction for group in groups])
        counts = np.maximum(1, np.floor(exact).astype(int))
        for c in np.argsort(counts - exact)[: max(0, total - int(counts.sum()))]:
            counts[c] += 1
        for group, count in zip(groups, counts, strict=True):
            parts[rng.permutation(group)[: min(count, len(group) - 1)]] = wanted
    return parts


# --- sources -----------------------------------------------------------------------------------------


def _digits() -> _Source:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError('The digits come with scikit-learn: pip install "kerasft[demo]"') from error
    digits = load_digits()
    images = np.rint(digits.images[..., None] * (255 / 16)).astype("uint8")
    names = tuple(str(n) for n in digits.target_names)
    labels = digits.target.astype("int32")
    return _Source(images, labels, lambda image: image, names, np.zeros(len(labels), int))


def _decode(path: tf.Tensor) -> tf.Tensor:
    image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
    image.set_shape((None, None, 3))
    return image


def _folder(root: Path, skip_corrupt: bool) -> _Source:
    if not root.is_dir():
        raise FileNotFoundError(
            f'There is no folder {root}. Give a folder with a folder of images for each class, "tfds:NAME", '
            'or "digits".'
        )
    folders = {p.name: p for p in _subfolders(root)}
    roots = {0: root}
    if "train" in folders:
        held = {2: folders.get("test"), 1: folders.get("validation", folders.get("val"))}
        roots = {0: folders["train"], **{part: p for part, p in held.items() if p is not None}}
    names = [p.name for p in _subfolders(roots[0])]
    if not names:
        raise ValueError(f"{roots[0]} has no folders; make one for each class and put its images there.")
    paths: list[Path] = []
    labels: list[int] = []
    parts: list[int] = []
    for part, base in roots.items():
        extra = {p.name for p in _subfolders(base)} - set(names)
        if extra:
            raise ValueError(f"{base} has classes that {roots[0]} lacks: {sorted(extra)}.")
        for label, name in enumerate(names):
            files = sorted(
                p
                for p in (base / name).rglob("*")
                if p.suffix.lower() in _SUFFIXES and not p.name.startswith(".") and p.is_file()
            )
            if not files:
                raise ValueError(f"{base / name} holds no image ({', '.join(_SUFFIXES)}).")
            paths += files
            labels += [label] * len(files)
            parts += [part] * len(files)
    bad = _corrupt(paths)
    if bad and not skip_corrupt:
        shown = "\n".join(f"- {paths[i]}: {bad[i]}" for i in list(bad)[:10])
        raise ValueError(
            f"{len(bad)} of {len(paths)} images can't be read. Mend or remove them, or pass "
            f"skip_corrupt=True (--skip-corrupt):\n{shown}"
        )
    keep = [i for i in range(len(paths)) if i not in bad]
    return _Source(
        np.array([str(paths[i]) for i in keep]),
        np.array([labels[i] for i in keep], "int32"),
        _decode,
        tuple(names),
        np.array([parts[i] for i in keep], int),
        tuple(paths[i] for i in sorted(bad)),
    )


def _subfolders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def _corrupt(paths: Sequence[Path]) -> dict[int, str]:
    """The images that can't be decoded, with the reason."""

    def check(path: Path) -> str | None:
        try:
            _decode(tf.constant(str(path)))
        except (tf.errors.OpError, ValueError) as error:
            return re.sub(r"{{.*?}}\s*|\[Op:.*", "", str(error)).strip()[:120]
        return None

    with concurrent.futures.ThreadPoolExecutor() as pool:
        reasons = list(pool.map(check, paths))
    return {i: reason for i, reason in enumerate(reasons) if reason is not None}


def _tfds(name: str, data_dir: str | os.PathLike[str] | None) -> _Source:
    raw = _raw_fashion_mnist(data_dir) if name == "fashion_mnist" else None
    if raw is not None:
        return raw
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=None if data_dir is None else os.fspath(data_dir))
    except (tfds.core.DatasetNotFoundError, tfds.core.registered.DatasetNotFoundError) as error:
        near = difflib.get_close_matches(name, tfds.list_builders(), n=5)
        hint = f" Near it are {near}." if near else ""
        raise ValueError(f"tensorflow-datasets has no data set {name!r}.{hint}") from error
    features = builder.info.features
    if not {"image", "label"} <= set(features or {}) or not hasattr(features["label"], "names"):
        raise ValueError(f"{name} has no images with a class label; its features are {list(features or {})}.")
    try:
        builder.download_and_prepare()
    except Exception as error:  # tfds lets errors of many libraries through
        raise ConnectionError(
            f"{name} could not be downloaded or prepared: {error}. Check the connection, or prepare it "
            "elsewhere and pass its folder as data_dir (--data-dir)."
        ) from error
    images, labels, parts = [], [], []
    for split, part in (("train", 0), ("validation", 1), ("test", 2)):
        if split in builder.info.splits:
            for row in builder.as_dataset(split=split):
                images.append(tf.io.encode_png(row["image"]).numpy())
                labels.append(int(row["label"]))
                parts.append(part)
    if not np.any(np.array(parts) == 0):
        raise ValueError(f"{name} has no split `train`, only {list(builder.info.splits)}.")

    def read(image: tf.Tensor) -> tf.Tensor:
        return tf.io.decode_png(image, channels=3)

    names = tuple(features["label"].names)
    return _Source(np.array(images, object), np.array(labels, "int32"), read, names, np.array(parts))


_FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")


def _raw_fashion_mnist(data_dir: str | os.PathLike[str] | None) -> _Source | None:
    """Fashion-MNIST from its four original files, in `data_dir` or from Debian's package; None without."""
    for folder in (Path(data_dir) if data_dir is not None else None, _FASHION_FOLDER):
        files = [
            None if folder is None else folder / f"{split}-{kind}-ubyte.gz"
            for split in ("train", "t10k")
            for kind in ("images-idx3", "labels-idx1")
        ]
        if not all(file is not None and file.is_file() for file in files):
            continue
        logger.info("Fashion-MNIST is read from %s.", folder)
        arrays = [_idx(file) for file in files if file is not None]
        images = np.concatenate([arrays[0], arrays[2]])[..., None]
        labels = np.concatenate([arrays[1], arrays[3]]).astype("int32")
        parts = np.repeat([0, 2], [len(arrays[0]), len(arrays[2])])
        return _Source(images, labels, lambda image: image, _FASHION, parts)
    return None


def _idx(path: Path) -> np.ndarray:
    """An array of bytes in the IDX format: two zeros, the type, the number of axes, their lengths."""
    content = gzip.decompress(path.read_bytes())
    axes = content[3]
    shape = np.frombuffer(content, ">i4", axes, offset=4)
    if content[:3] != b"\x00\x00\x08" or len(content) != 4 + 4 * axes + int(np.prod(shape)):
        raise ValueError(f"{path} is damaged: it is no whole IDX file of bytes.")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
