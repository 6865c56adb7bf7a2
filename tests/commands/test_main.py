"""The command line, as it is typed."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from kerasft import export
from kerasft.commands import main as cli


def kerasft_command(*words):
    result = CliRunner().invoke(cli.app, [str(w) for w in words])
    return result.exit_code, result.output


def test_help_names_every_command_and_loads_no_tensorflow():
    code = (
        "import sys, kerasft.commands.main; print(*(name in sys.modules for name in ('tensorflow', 'keras')))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[False, False]"
    status, output = kerasft_command("--help")
    assert status == 0
    for name in ("quickstart", "finetune", "search", "export", "verify", "inspect"):
        assert name in output


@pytest.mark.process
def test_finetune_from_a_folder(tmp_path):
    import tensorflow as tf

    rng = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(12):
            image = (rng.integers(0, 90, (16, 16, 3)) + 150 * label).astype("uint8")
            (tmp_path / "data" / name / f"{i}.png").write_bytes(tf.io.encode_png(image).numpy())
    x = inputs = keras.Input((None, None, 3))
    for i in range(2):
        x = keras.layers.Conv2D(4, 3, strides=2, activation="relu", name=f"block_{i}")(x)
    backbone = export.to_saved_model(keras.Model(inputs, x), tmp_path / "backbone")
    words = ["finetune", tmp_path / "data", "--backbone", backbone, "--out", tmp_path / "out"]
    words += ["--image-size", 16, "--epochs", "1,1"]
    status, output = kerasft_command(*words)
    assert status == 0, output
    assert "block_1" in output and "model.tflite" in output and "load_model" in output
    assert (tmp_path / "out" / "model.tflite").exists()
    status, output = kerasft_command(*words)
    assert status == 1 and "--overwrite" in output


@pytest.mark.training
def test_search_prints_the_best_trials(tmp_path):
    inputs = x = keras.Input((None, None, 3))
    for i in range(2):
        x = keras.layers.Conv2D(4, 3, strides=2, activation="relu", name=f"block_{i}")(x)
    backbone = export.to_saved_model(keras.Model(inputs, x), tmp_path / "backbone")
    words = ["search", "digits", "--limit", 100, "--backbone", backbone, "--out", tmp_path / "out"]
    words += ["--image-size", 16, "--epochs", 1, "--trials", 2, "--recipes", "frozen_head, head_then_all"]
    status, output = kerasft_command(*words, "--depths", "block_1")
    assert status == 0, output
    assert (
        "2 trials: 2 completed" in output and "test accuracy" in output and "tensorboard --logdir" in output
    )
    assert (tmp_path / "out" / "model.keras").exists() and (tmp_path / "out" / "trials.png").exists()
    status, output = kerasft_command(*words)
    assert status == 1 and "--overwrite" in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("finetune", "nowhere", "--backbone", "b", "--out", "o"), "no folder"),
        (("finetune", "digits", "--backbone", "b", "--out", "o", "--epochs", "1,x"), "--epochs"),
        (("finetune", "digits", "--backbone", "b", "--out", "o", "--epochs", "0"), "at least one"),
        (("finetune", "digits", "--backbone", "b", "--out", "o", "--input-range", "1"), "takes 2"),
        (("search", "nowhere", "--backbone", "b", "--out", "o"), "no folder"),
        (("search", "digits", "--backbone", "b", "--out", "o", "--learning-rate", "1e-3"), "takes 2"),
        (("search", "digits", "--backbone", "b", "--out", "o", "--tuner", "best"), "no tuner 'best'"),
        (("search", "digits", "--backbone", "nowhere", "--out", "o"), "no folder"),
    ],
)
def test_mistakes_are_one_message(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, output = kerasft_command(*words)
    assert status == 1
    assert message in " ".join(output.split()) and "Traceback" not in output
    assert list(tmp_path.iterdir()) == []
