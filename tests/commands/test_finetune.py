"""`kerasft finetune`, as it is typed."""

import numpy as np
import pytest
import tensorflow as tf
from command_line import kerasft_command, tiny_backbone


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
    words += ["--image-size", 16, "--epochs", "1,1"]
    status, output = kerasft_command(*words)
    assert status == 0, output
    assert "block_1" in output and "model.tflite" in output and "load_model" in output
    assert (tmp_path / "out" / "model.tflite").exists()
    status, output = kerasft_command(*words)
    assert status == 1 and "--overwrite" in output
