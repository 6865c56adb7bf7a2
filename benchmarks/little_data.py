"""Little data, and pre-trained networks to fine-tune on it: what the studies beside this file train on.

Tux Paint's photo stamps (Debian's `tuxpaint-stamps-default`; its folders with 30 pictures or more, symbols
left out; five folds), Fashion-MNIST at 50 images a class and at 5, scikit-learn's digits at 30 and at 5, with
EfficientNet-Lite0 at 96 pixels, and 500 snippets of movie reviews with all-MiniLM-L6-v2 at 32 tokens.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from kerasft.examples import efficientnet_lite0, minilm, movie_reviews
from PIL import Image

from kerasft.data.fashion_mnist import DEBIAN_FOLDER, read_idx
from kerasft.text import TextRule

STAMPS = Path("/usr/share/tuxpaint/stamps")
SIZE, LENGTH = 96, 32
Samples = tuple[Any, np.ndarray]


@dataclass(frozen=True)
class Task:
    """Data and a backbone.

    Attributes:
        draws: How many folds or seeds there are.
        epochs: Of every way.
        split: Training and test samples of a draw.
        build: A classifier of so many classes, and its backbone; whether the backbone is called as many
            people do, with `training=False`.
    """

    draws: int
    epochs: int
    split: Callable[[int], tuple[Samples, Samples]]
    build: Callable[[int, bool], tuple[keras.Model, keras.Model]]


def square(picture: Image.Image) -> np.ndarray:
    """A picture on white, in the middle of a square."""
    picture = picture.convert("RGBA")
    side = max(picture.size)
    canvas = Image.new("RGBA", (side, side), "white")
    canvas.alpha_composite(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return np.asarray(canvas.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC), "float32")


@functools.cache
def stamps() -> Samples:
    """All pictures and the number of their folder."""
    folders = [folder for folder in sorted(STAMPS.iterdir()) if folder.is_dir() and folder.name != "symbols"]
    found = [files for folder in folders if len(files := sorted(folder.rglob("*.png"))) >= 30]
    pictures = [square(Image.open(file)) for files in found for file in files]
    return np.stack(pictures), np.repeat(np.arange(len(found)), [len(files) for files in found])


def stamps_split(draw: int) -> tuple[Samples, Samples]:
    """Every fifth picture of each class, in an order drawn once, is tested."""
    x, y = stamps()
    order = np.random.default_rng(0).permutation(len(y))
    fold = np.empty(len(y), int)
    fold[order[np.argsort(y[order], kind="stable")]] = np.arange(len(y)) % 5
    return (x[fold != draw], y[fold != draw]), (x[fold == draw], y[fold == draw])


def drawn(x: np.ndarray, y: np.ndarray, each: int, draw: int) -> np.ndarray:
    """The places of so many samples of each class."""
    rng = np.random.default_rng(draw)
    return np.concatenate([rng.permutation(np.flatnonzero(y == label))[:each] for label in np.unique(y)])


def pictures(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> Samples:
    """Grey images as pictures, and their classes."""
    return np.stack([square(Image.fromarray(x[i])) for i in at]), y[at].astype("int64")


def fashion_split(draw: int, each: int = 50) -> tuple[Samples, Samples]:
    """Training images of each class; the same 1,500 of the test set for all draws."""
    train, test = (
        tuple(read_idx(DEBIAN_FOLDER / f"{part}-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
        for part in ("train", "t10k")
    )
    held = np.random.default_rng(0).permutation(len(test[1]))[:1500]
    return pictures(*train, drawn(*train, each, draw)), pictures(*test, held)


def digits_split(draw: int, each: int = 30) -> tuple[Samples, Samples]:
    """Training images of each class, and 1,000 others."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y = np.rint(digits.images * (255 / 16)).astype("uint8"), digits.target
    at = drawn(x, y, each, draw)
    held = np.random.default_rng(draw).permutation(np.setdiff1d(np.arange(len(y)), at))[:1000]
    return pictures(x, y, at), pictures(x, y, held)


@functools.cache
def snippets() -> Samples:
    """All snippets as token ids, and whether they praise."""
    rows = movie_reviews.read_snippets()
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = TextRule.of(minilm.write_vocabulary(Path(folder) / "vocab.txt"), LENGTH).tokenizer()
    ids = [np.asarray(column) for column in tokenizer(tf.constant([text for text, _ in rows]))]
    names = sorted({label for _, label in rows})
    y = np.array([names.index(label) for _, label in rows])
    return dict(zip(("input_word_ids", "input_mask", "input_type_ids"), ids, strict=True)), y


def snippets_split(draw: int) -> tuple[Samples, Samples]:
    """500 snippets to train on, and 1,000 others."""
    x, y = snippets()
    order = np.random.default_rng(draw).permutation(len(y))
    first, second = (({n: v[at] for n, v in x.items()}, y[at]) for at in (order[:500], order[500:1500]))
    return first, second


def picture_model(classes: int, as_written: bool) -> tuple[keras.Model, keras.Model]:
    """EfficientNet-Lite0 and a head."""
    backbone = efficientnet_lite0.build_efficientnet_lite0(classes=None, input_shape=(SIZE, SIZE, 3))
    x = inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 128, -127 / 128)(x)
    x = backbone(x, training=False) if as_written else backbone(x)
    x = keras.layers.Dropout(0.2)(x)
    return keras.Model(inputs, keras.layers.Dense(classes, "softmax", name="scores")(x)), backbone


def text_model(classes: int, as_written: bool) -> tuple[keras.Model, keras.Model]:
    """MiniLM, the mean over its tokens, and a head."""
    backbone = minilm.build_minilm(length=LENGTH)
    inputs = {
        name: keras.Input((LENGTH,), dtype="int32", name=name)
        for name in ("input_word_ids", "input_mask", "input_type_ids")
    }
    x = backbone(inputs, training=False) if as_written else backbone(inputs)
    x = x["sequence_output"] if isinstance(x, dict) else x
    x = keras.layers.GlobalAveragePooling1D()(x, mask=inputs["input_mask"])
    x = keras.layers.Dropout(0.1)(x)
    return keras.Model(inputs, keras.layers.Dense(classes, "softmax", name="scores")(x)), backbone


TASKS = {
    "stamps": Task(5, 12, stamps_split, picture_model),
    "fashion": Task(8, 12, fashion_split, picture_model),
    "digits": Task(8, 12, digits_split, picture_model),
    "snippets": Task(8, 4, snippets_split, text_model),
    "fashion5": Task(8, 12, functools.partial(fashion_split, each=5), picture_model),
    "digits5": Task(8, 12, functools.partial(digits_split, each=5), picture_model),
}
