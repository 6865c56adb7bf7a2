"""What a classifier makes of the test part."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasft.commands.evaluation import _picture, _short, evaluated
from kerasft.data import load_texts


def test_texts_that_are_wrong_are_kept_with_their_text(tmp_path):
    """A model that says "yes" with a score that the text's number gives."""
    rows = [(f"text {i}{' long' * 100 if i == 7 else ''}", ("no", "yes")[i % 2]) for i in range(80)]
    lines = ["text,label,split", *(f"{text},{label},test" for text, label in rows)]
    lines += [f"other {i},{label},{part}" for part in ("train", "validation") for i, label in
              enumerate(("no", "yes") * 3, 10 * len(part))]  # fmt: skip
    (tmp_path / "texts.csv").write_text("\n".join(lines) + "\n")
    data = load_texts(tmp_path / "texts.csv", batch_size=32)
    assert data.class_names == ("no", "yes") and data.test_size == 80

    def number(texts):
        words = tf.strings.split(texts).to_tensor("", shape=(None, 2))
        return tf.strings.to_number(words[:, 1:])  # shape (texts, 1)

    inputs = keras.Input((1,))
    scores = keras.ops.concatenate([0.5 - inputs / 1000, 0.5 + inputs / 1000], axis=1)
    _, _, test = data.mapped(number)
    found = evaluated(keras.Model(inputs, scores), data, test)
    # 0 is taken for "no", by the lower label of equal scores; the other even numbers are wrong
    assert dict(found.counts) == {(0, 0): 1, (0, 1): 39, (1, 1): 40}
    assert found.accuracy == 41 / 80
    assert [row["text"] for row in found.wrong] == [
        f"text {i}" for i in range(78, 30, -2)
    ]  # 24, the surest first
    assert [row["score"] for row in found.wrong[:2]] == pytest.approx([0.578, 0.576])
    assert found.stored()["confusion"] == [[0, 0, 1], [0, 1, 39], [1, 1, 40]]


def test_a_large_picture_is_made_small():
    pixels = np.zeros((300, 200, 3), "float32")
    found = _picture(pixels)
    assert found["side"] == 96 and found["picture"].startswith("data:image/jpeg;base64,")
    noise = np.random.default_rng(0).uniform(-9, 270, (300, 300, 3))
    assert len(_picture(noise)["picture"]) < 40_000  # what the page takes


def test_names_are_those_within_the_source(tmp_path):
    names = [str(tmp_path / "data" / "cat" / "1.png"), "elsewhere/2.png"]
    assert _short(names, tmp_path / "data") == ["cat/1.png", "elsewhere/2.png"]
    assert _short(names, tmp_path / "data" / "list.csv") == ["cat/1.png", "elsewhere/2.png"]
