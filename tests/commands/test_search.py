"""`kerasft search`, as it is typed."""

import json

import keras
import numpy as np
import pytest
import small_texts
from command_line import kerasft_command, tiny_backbone

from kerasft.text import TextRule


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


@pytest.mark.training
def test_a_search_on_texts_takes_what_finetune_takes(tmp_path):
    encoder = small_texts.write_encoder(tmp_path)
    data = small_texts.write_table(tmp_path / "texts.csv")
    words = ["search", data, "--backbone", encoder, "--out", tmp_path / "out", "--length", 9]
    words += ["--vocab", tmp_path / "vocab.txt", "--epochs", 8, "--trials", 2, "--batch-size", 8]
    words += ["--recipes", "head_then_all", "--depths", "0", "--learning-rate", "0.02,0.05"]
    status, output = kerasft_command(*words)
    assert status == 0, output
    flat = " ".join(output.split())
    assert "texts to train" in flat and "texts have more than 9 tokens" in flat and "2 completed" in flat
    rule = TextRule.load(tmp_path / "out")
    inputs = dict(zip(small_texts.NAMES, rule.tokenizer()(["The good film!", "a bad film"]), strict=True))
    model = keras.models.load_model(tmp_path / "out" / "model.keras")
    labels = (tmp_path / "out" / "labels.txt").read_text().split()
    scores = model.predict(inputs, verbose=0)
    assert [labels[i] for i in np.argmax(scores, 1)] == ["yes", "no"]
    split = json.loads((tmp_path / "out" / "split.json").read_text())
    assert sum(len(split[part]) for part in ("train", "validation", "test")) == len(small_texts.texts())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--image-size", 32], "The data are texts, and --image-size says nothing about them"),
        (["--vocab", "a.txt", "--preprocessor", "b"], "give one of them"),
        (["--vocab", "nowhere.txt"], "no vocabulary nowhere.txt"),
    ],
)
def test_what_does_not_fit_texts_is_refused(tmp_path, more, words):
    encoder = small_texts.write_encoder(tmp_path)
    data = small_texts.write_table(tmp_path / "texts.csv")
    status, output = kerasft_command("search", data, "--backbone", encoder, "--out", tmp_path / "out", *more)
    assert status == 1 and words in " ".join(output.split()), output
    assert not (tmp_path / "out").exists()
