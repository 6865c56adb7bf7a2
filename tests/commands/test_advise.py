"""`kerasft advise`, as it is typed."""

import json

import numpy as np
import pytest
import small_texts
import tensorflow as tf
from command_line import kerasft_command, tiny_backbone
from typer.testing import CliRunner

from kerasft.commands.main import app


@pytest.fixture
def pictures(tmp_path):
    """Dark and light pictures in a folder for each class, some of each alike."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(40):
            image = rng.integers(0, 120, (16, 16, 3)) + 100 * label
            (tmp_path / "data" / name / f"{i}.png").write_bytes(
                tf.io.encode_png(image.astype("uint8")).numpy()
            )
    return tmp_path / "data"


def test_a_folder_of_pictures(tmp_path, pictures):
    backbone = tiny_backbone(tmp_path, blocks=2, side=None)
    words = ["advise", pictures, "--backbone", backbone, "--image-size", 16, "--input-range", "0,1"]
    status, output = kerasft_command(*words)
    assert status == 0, output
    assert "80 images" not in output and "images to train" in output  # the test part is left alone
    assert "Extract features at freeze depth 2 (trains from 'head')" in output
    assert "frozen up to" in output and "block_1" in output and "LogME" in output
    assert {path.name for path in tmp_path.iterdir()} == {"data", "tiny"}


def test_as_json_it_is_json_alone(tmp_path, pictures):
    backbone = tiny_backbone(tmp_path, blocks=2, side=None)
    words = ["advise", pictures, "--backbone", backbone, "--image-size", 16, "--input-range", "0,1"]
    result = CliRunner().invoke(app, [str(word) for word in [*words, "--json", "--samples", 30]])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["recommendation"] == "extract_features" and found["samples"] == 30
    assert [row["stage"] for row in found["by_depth"]] == ["block_0", "block_1"]
    assert any("30 of" in note for note in found["notes"]) and "images to train" in result.stderr


def test_texts(tmp_path):
    encoder = small_texts.write_encoder(tmp_path)
    data = small_texts.write_table(tmp_path / "texts.csv")
    words = ["advise", data, "--backbone", encoder, "--length", 9, "--vocab", tmp_path / "vocab.txt"]
    status, output = kerasft_command(*words)
    assert status == 0, output
    assert "texts to train" in output and "freeze depth" in output and "frozen up to" in output
    status, output = kerasft_command(*words, "--image-size", 32)
    assert status == 1 and "says nothing about them" in output


def test_a_class_with_one_picture_to_train_on_is_named(tmp_path, pictures):
    for i in range(3, 40):
        (pictures / "light" / f"{i}.png").unlink()
    backbone = tiny_backbone(tmp_path, blocks=2, side=None)
    words = ["advise", pictures, "--backbone", backbone, "--image-size", 16, "--input-range", "0,1"]
    status, output = kerasft_command(*words)
    assert status == 1 and "Some classes have one sample: light." in " ".join(output.split())
