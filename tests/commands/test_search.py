"""`kerasft search`, as it is typed."""

import pytest
from command_line import kerasft_command, tiny_backbone


@pytest.mark.training
def test_search_prints_the_best_trials(tmp_path):
    backbone = tiny_backbone(tmp_path, blocks=2, side=None)
    words = ["search", "digits", "--limit", 100, "--backbone", backbone, "--out", tmp_path / "out"]
    words += ["--image-size", 16, "--input-range", "0,1", "--epochs", 1, "--trials", 2]
    words += ["--recipes", "frozen_head, head_then_all"]
    status, output = kerasft_command(*words, "--depths", "block_1")
    assert status == 0, output
    assert (
        "2 trials: 2 completed" in output and "test accuracy" in output and "tensorboard --logdir" in output
    )
    assert (tmp_path / "out" / "model.keras").exists() and (tmp_path / "out" / "trials.png").exists()
    status, output = kerasft_command(*words)
    assert status == 1 and "--overwrite" in output
