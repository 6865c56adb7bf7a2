"""`kerasft export --data` measures on images that the model was not trained on."""

import json

import keras
import numpy as np
import pytest
from command_line import kerasft_command
from PIL import Image

from kerasft.data import Split, load_dataset

SIDE = 8


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder of noise, and a model that knows its training images by heart: half right elsewhere."""
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    for name in ("even", "odd"):
        (folder / "images" / name).mkdir(parents=True)
        for i in range(60):
            pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype="uint8")
            Image.fromarray(pixels).save(folder / "images" / name / f"{i}.png")
    data = load_dataset(folder / "images", image_size=SIDE, limit=100)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 127.5, -1)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2, "softmax")(keras.layers.Dense(128, "relu")(x)))
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(data.train, epochs=25, verbose=0, shuffle=False)
    assert model.evaluate(data.train, verbose=0)[1] > 0.95
    model.save(folder / "model.keras")
    data.split.to_json(folder / "split.json")
    (folder / "labels.txt").write_text("even\nodd\n")
    return folder, data, model


def exported(folder, out, *words):
    command = ["export", folder / "model.keras", "--out", out, "--data", folder / "images", "--overwrite"]
    status, output = kerasft_command(*command, "--json", *words)
    assert status == 0, output
    return json.loads(output[output.index("{") :]), output[: output.index("{")]


def accuracy_on(paths, model):
    """By Pillow and Keras alone."""
    x = np.stack([np.asarray(Image.open(p).convert("RGB"), "float32") for p in paths])
    truth = np.array([["even", "odd"].index(p.parent.name) for p in paths])
    return float(np.mean(model.predict(x, verbose=0).argmax(axis=1) == truth))


@pytest.mark.process
@pytest.mark.parametrize("words", [(), ("--seed", 5)])
def test_the_test_images_are_those_of_the_run(run, words, tmp_path):
    folder, _, model = run
    report, said = exported(folder, tmp_path / "m.tflite", *words)
    split = Split.from_json(folder / "split.json")
    held = [p for p in sorted((folder / "images").rglob("*.png")) if part_of(p, split) == "test"]
    assert report["quality"]["samples"] == len(held) > 10
    assert report["quality"]["accuracy_model"] == pytest.approx(accuracy_on(held, model))
    assert report["quality"]["accuracy_model"] < 0.9 and "split.json" not in said


def part_of(path, split):
    import hashlib

    return split.parts[hashlib.sha256(path.read_bytes()).hexdigest()]


@pytest.mark.process
def test_a_new_picture_moves_no_other(run, tmp_path):
    folder, _, _ = run
    before, _ = exported(folder, tmp_path / "m.tflite")
    new = folder / "images" / "even" / "new.png"
    Image.fromarray(np.full((SIDE, SIDE, 3), 7, "uint8")).save(new)
    try:
        after, _ = exported(folder, tmp_path / "m.tflite")
    finally:
        new.unlink()
    grown = after["quality"]["samples"] - before["quality"]["samples"]
    right = [r["quality"]["accuracy_model"] * r["quality"]["samples"] for r in (before, after)]
    assert grown in (0, 1) and -1e-3 < right[1] - right[0] < grown + 1e-3


def test_a_model_without_a_split_is_exported_with_a_word(run, tmp_path):
    folder, _, _ = run
    (tmp_path / "model.keras").write_bytes((folder / "model.keras").read_bytes())
    command = ["export", tmp_path / "model.keras", "--out", tmp_path / "m.tflite"]
    status, output = kerasft_command(*command, "--data", folder / "images")
    assert status == 0 and "no split.json" in output and "accuracy is too good" in " ".join(output.split())


def test_images_of_other_classes_are_refused(run, tmp_path):
    folder, _, _ = run
    (folder / "images" / "odd").rename(folder / "images" / "aaa")
    try:
        command = ["export", folder / "model.keras", "--out", tmp_path / "m.tflite"]
        status, output = kerasft_command(*command, "--data", folder / "images")
    finally:
        (folder / "images" / "aaa").rename(folder / "images" / "odd")
    output = " ".join(output.split())
    assert status == 1 and "classes are ['even', 'odd']" in output and "['aaa', 'even']" in output
    assert list(tmp_path.iterdir()) == []
