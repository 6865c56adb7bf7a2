"""Images or texts, by what the files are."""

import pytest
import tensorflow as tf

from kerasft.data import kind_of


def test_by_the_files_in_the_class_folders(tmp_path):
    picture = tf.io.encode_png(tf.zeros((4, 4, 3), tf.uint8)).numpy()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.txt").write_text("some words")
    (tmp_path / "cover.png").write_bytes(picture)
    assert kind_of(tmp_path) == "text"
    (tmp_path / "a" / "0.png").write_bytes(picture)
    with pytest.raises(ValueError, match="1 images and 2 text files.*--as images or --as text"):
        kind_of(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name / "0.txt").unlink()
    (tmp_path / "README.txt").write_text("of another kind")
    assert kind_of(tmp_path) == "images"


def test_by_the_columns(tmp_path):
    path = tmp_path / "labels.csv"
    (tmp_path / "0.png").write_bytes(b"")
    (tmp_path / "1.png").write_bytes(b"")
    path.write_text("path,label\n0.png,x\n1.png,y\n")
    assert kind_of(path) == "images"
    path.write_text("text,label\nsome words,x\nother words,y\n")
    assert kind_of(path) == "text"
    path.write_text("path,caption,label\n0.png,some words,x\n1.png,other words,y\n")
    with pytest.raises(ValueError, match="a column of paths and one of texts"):
        kind_of(path)


def test_by_name(tmp_path):
    assert kind_of("digits") == "images" and kind_of("tfds:fashion_mnist") == "images"
    assert kind_of("tfds:imdb_reviews") == "text" and kind_of("tfds:mnist") == "images"
    assert kind_of("rows.jsonl") == "text" and kind_of(tmp_path / "nowhere") == "images"
