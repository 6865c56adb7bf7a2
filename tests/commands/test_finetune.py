"""`kerasft finetune`, as it is typed."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from command_line import kerasft_command, tiny_backbone
from tfds_sets import prepared

import kerasft
from kerasft import Phase
from kerasft.commands.finetune import _epochs_in_all


@pytest.mark.process
def test_finetune_from_a_folder(tmp_path):
    rng = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(12):
            image = (rng.integers(0, 90, (16, 16, 3)) + 150 * label).astype("uint8")
            (tmp_path / "data" / name / f"{i}.png").write_bytes(tf.io.encode_png(image).numpy())
    backbone = tiny_backbone(tmp_path, blocks=2, side=None)
    words = ["finetune", tmp_path / "data", "--backbone", backbone, "--out", tmp_path / "out"]
    schedule = tmp_path / "phases.yaml"
    schedule_of(Phase("head", 1), Phase("block_1", 1)).to_yaml(schedule)
    words += ["--image-size", 16, "--schedule", schedule, "--input-range", "0,1"]
    status, output = kerasft_command(*words)
    assert status == 0, output
    written = kerasft.UnfreezingSchedule.from_file(tmp_path / "out" / "schedule.json")
    assert written == kerasft.UnfreezingSchedule.from_file(schedule)
    assert "block_1" in output and "model.tflite" in output and "load_model" in output
    assert (tmp_path / "out" / "model.tflite").exists()
    status, output = kerasft_command(*words)
    assert status == 1 and "--overwrite" in output


@pytest.mark.process
def test_finetune_from_a_tfds_data_set(tmp_path):
    features = {
        "image": tfds.features.Image(shape=(16, 16, 3)),
        "label": tfds.features.ClassLabel(names=["dark", "light"]),
    }
    rng = np.random.default_rng(0)

    def rows(count):
        shades = [(rng.integers(0, 90, (16, 16, 3)) + 150 * (i % 2)).astype("uint8") for i in range(count)]
        return [{"image": shade, "label": i % 2} for i, shade in enumerate(shades)]

    splits = {"train": rows(24), "validation": rows(8), "test": rows(6)}
    prepared(tmp_path / "tfds", "kerasft_shades", features, splits)
    backbone = tiny_backbone(tmp_path, blocks=2, side=None)
    words = ["finetune", "tfds:kerasft_shades", "--data-dir", tmp_path / "tfds", "--backbone", backbone]
    words += ["--out", tmp_path / "out", "--image-size", 16, "--input-range", "0,1", "--epochs", "3,1"]
    status, output = kerasft_command(*words, "--learning-rate", 0.05)
    assert status == 0, output
    assert "24 images to train, 8 to validate, 6 to test, 2 classes" in " ".join(output.split())
    assert (tmp_path / "out" / "labels.txt").read_text().split() == ["dark", "light"]
    model = keras.models.load_model(tmp_path / "out" / "model.keras")
    pictures = np.stack([row["image"] for row in splits["test"]]).astype("float32")
    accuracy = float(np.mean(model.predict(pictures, verbose=0).argmax(1) == [0, 1] * 3))
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["accuracy"] == pytest.approx(accuracy)


def schedule_of(*phases):
    return kerasft.UnfreezingSchedule(phases)


def test_the_epochs_of_a_schedule_are_those_of_its_phases_or_given():
    fixed = schedule_of(Phase(1, 2), Phase(0, 3, patience=1, monitor="loss"))
    assert _epochs_in_all(fixed, None) == 5 and _epochs_in_all(fixed, [9]) == 9
    with pytest.raises(ValueError, match=r"phases \[1\].* have no `epochs`. Say with --epochs"):
        _epochs_in_all(schedule_of(Phase(1, 2), Phase(0)), None)
    with pytest.raises(ValueError, match=r"in all; received \[3, 3\]"):
        _epochs_in_all(fixed, [3, 3])


def test_the_quickstart_leaves_nothing_beside_its_folder(tmp_path, monkeypatch):
    from kerasft.examples import efficientnet_lite0

    places = []

    def stopped(folder, **options):
        places.append(folder)
        assert folder.parent.is_dir() and tmp_path not in folder.parents
        raise KeyboardInterrupt

    monkeypatch.setattr(efficientnet_lite0, "write_saved_model", stopped)
    status, output = kerasft_command("quickstart", "--quick", "--out", tmp_path / "out")
    assert status == 130 and "Nothing was saved" in output
    assert len(places) == 1 and not places[0].parent.exists() and list(tmp_path.iterdir()) == []
