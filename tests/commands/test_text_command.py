"""`kerasft finetune` on texts, as it is typed."""

import json

import keras
import numpy as np
import pytest
import small_texts
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from command_line import kerasft_command

from kerasft.data import load_texts
from kerasft.text import TextRule


@pytest.mark.slow
@pytest.mark.process
def test_finetune_from_a_table(tmp_path):
    encoder = small_texts.write_encoder(tmp_path)
    data = small_texts.write_table(tmp_path / "texts.csv")
    words = ["finetune", data, "--backbone", encoder, "--out", tmp_path / "out"]
    words += ["--epochs", "1,20", "--length", 9, "--learning-rate", 0.03, "--decay", 1, "--batch-size", 8]
    status, output = kerasft_command(*words)
    assert status == 0, output
    flat = " ".join(output.split())
    assert "texts to train" in flat and "texts have more than 9 tokens" in flat
    assert "tokens are not in the vocabulary" in flat and "all equal to the bit" in flat
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["accuracy"] == 1.0 and report["phases"][0]["from"] == "head"
    assert report["exports"]["float32"]["quality"]["accuracy_file"] == 1.0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "texts of 9 tokens" in page and "texts have more than 9 tokens" in page and "Not shown" not in page
    rule = TextRule.load(tmp_path / "out")
    assert rule.words == tuple(small_texts.WORDS) and rule.length == 9 and rule.lower_case

    texts = ["The good film!", "a very BAD film", ""]
    served = tf.saved_model.load(str(tmp_path / "out" / "from_strings")).signatures["serving_default"]
    scores = served(tf.constant(texts))["scores"].numpy()
    labels = (tmp_path / "out" / "labels.txt").read_text().split()
    assert [labels[i] for i in scores[:2].argmax(1)] == ["yes", "no"]
    inputs = dict(zip(small_texts.NAMES, rule.tokenizer()(texts)))
    model = keras.models.load_model(tmp_path / "out" / "model.keras")
    np.testing.assert_allclose(model.predict(inputs, verbose=0), scores, atol=1e-6)
    lite = Interpreter(str(tmp_path / "out" / "model.tflite")).get_signature_runner()
    for row in range(len(texts)):
        one = {name: ids[row : row + 1].numpy() for name, ids in inputs.items()}
        np.testing.assert_allclose(lite(**one)["scores"][0], scores[row], atol=1e-5)
    split = json.loads((tmp_path / "out" / "split.json").read_text())
    assert sum(len(split[part]) for part in ("train", "validation", "test")) == len(small_texts.texts())
    tested = len(split["test"])
    assert load_texts(data).test_size == tested
    assert f"{tested} of {tested} test samples are right" in page


@pytest.mark.parametrize(
    "more, words",
    [
        (["--image-size", 32], "--image-size says nothing"),
        (["--as", "images"], "no column holds paths"),
        (["--as", "sounds"], "images or text"),
        (["--vocab", "VOCAB", "--preprocessor", "x"], "give one of them"),
        (["--vocab", "SHORT"], "5 words, and the backbone has 12 embeddings"),
        (["--vocab", "nowhere.txt"], "no vocabulary nowhere.txt"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, more, words):
    encoder = small_texts.write_encoder(tmp_path)
    data = small_texts.write_table(tmp_path / "texts.csv")
    (tmp_path / "short.txt").write_text("\n".join(small_texts.WORDS[:5]))
    given = {"VOCAB": tmp_path / "vocab.txt", "SHORT": tmp_path / "short.txt"}
    more = [given.get(word, word) for word in more]
    status, output = kerasft_command(
        "finetune", data, "--backbone", encoder, "--out", tmp_path / "out", *more
    )
    assert status == 1 and words in " ".join(output.split()), output
    assert not (tmp_path / "out").exists()


def test_options_of_texts_are_refused_for_images(tmp_path):
    words = ["finetune", "digits", "--backbone", tmp_path, "--out", tmp_path / "out"]
    status, output = kerasft_command(*words, "--vocab", "vocab.txt")
    assert status == 1 and "The data are images, and --vocab says nothing" in " ".join(output.split())


def test_the_text_quickstart_says_how_to_go_on_without_its_data(tmp_path, monkeypatch):
    from kerasft.examples import download

    def run(words, **options):
        raise OSError("no network")

    monkeypatch.setenv("KERASFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download.subprocess, "run", run)
    status, output = kerasft_command("quickstart", "--text", "--out", tmp_path / "out")
    flat = " ".join(output.split())
    assert status == 1 and "no network" in flat and "tfds:imdb_reviews, a CSV file" in flat
    assert not (tmp_path / "out").exists()
