"""`kerasft report`, and the page and the evidence that `kerasft finetune` writes by itself."""

import base64
import io
import json

import keras
import numpy as np
import pytest
import stored_run
import tensorflow as tf
from command_line import kerasft_command, tiny_backbone
from html_text import Page
from pictures import write_classes
from PIL import Image

from kerasft import Phase, UnfreezingSchedule
from kerasft.data import load_dataset

NAMES = ("<b>cat", "dog")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A run on pictures of two classes in folders with odd names: its folder, its output, its backbone."""
    root = tmp_path_factory.mktemp("ran")
    write_classes(root / "data", NAMES, count=16, size=(16, 16))
    (root / "data" / "dog" / "broken.png").write_bytes(b"\x89PNG")
    backbone = tiny_backbone(root, normalized=True)
    words = ["finetune", root / "data", "--backbone", backbone, "--out", root / "out", "--image-size", 16]
    phases = [Phase("head", 1), Phase("block_1", 2, learning_rate=0.005)]
    UnfreezingSchedule(phases).to_json(root / "phases.json")
    words += ["--schedule", root / "phases.json", "--input-range", "0,1", "--skip-corrupt"]
    words += ["--learning-rate", 0.01]
    status, output = kerasft_command(*words)
    assert status == 0, output
    return root / "out", output, backbone


def evidence_of(out):
    return json.loads((out / "evidence.json").read_text())


@pytest.mark.process
def test_the_run_has_its_page(ran):
    out, output, _ = ran
    assert f"The whole run on one page: {out / 'report.html'}" in output
    found = Page((out / "report.html").read_text())
    assert not any("Not shown" in text for text in found.text.values())
    assert "out: kerasft finetune" in found.of("")
    assert "Phase 2, epochs 2 to 3: everything from block_1 on trains" in found.of("recipe")
    assert "Damaged files: 1" in found.of("data") and "broken.png" in found.of("data")
    assert "model_float16.tflite" in found.of("precisions") and "<b>cat" in found.of("confusion")


@pytest.mark.process
def test_rates_and_movement_are_those_of_the_optimizer_and_the_weights(ran):
    out, _, backbone = ran
    found = evidence_of(out)
    assert [stage["name"] for stage in found["stages"]] == ["block_0", "block_1", "block_2", "head"]
    rates = np.array([row["rates"] for row in found["epochs"]])
    thawed = [0, 0.005 * 0.8**2, 0.005 * 0.8, 0.005]  # --decay from stage to stage
    np.testing.assert_allclose(rates, [[0, 0, 0, 0.01], thawed, thawed], rtol=1e-5)
    before = {v.name: v.numpy() for v in tf.saved_model.load(backbone).variables}
    model = keras.models.load_model(out / "model.keras")
    after = {v.path.replace(".", "/"): v.numpy() for v in model.variables}
    for place in range(3):
        pairs = []
        for part in ("conv/kernel", "conv/bias", "bn/gamma", "bn/beta"):  # those that can train
            (old,) = [w for name, w in before.items() if f"block_{place}_{part}" in name]
            (new,) = [w for name, w in after.items() if f"block_{place}_{part}" in name]
            pairs.append((old.ravel(), new.ravel()))
        old, new = (np.concatenate(side) for side in zip(*pairs))
        expected = np.linalg.norm(new - old) / np.linalg.norm(old)
        assert found["moved"][place] == pytest.approx(expected, rel=1e-4)
        assert (expected > 0) == (place > 0)
    distances = [row["distance"] for row in found["epochs"]]
    assert distances[0][:3] == [0, 0, 0] and distances[0][3] > 0 and distances[-1] == found["moved"]


@pytest.mark.process
def test_the_confusion_is_that_of_the_saved_model(ran):
    out, _, _ = ran
    data = load_dataset(out.parent / "data", image_size=16, skip_corrupt=True)
    model = keras.models.load_model(out / "model.keras")
    images = np.concatenate([images for images, _ in data.test])
    labels = np.concatenate([labels for _, labels in data.test])
    scores = model.predict(images, verbose=0)
    matrix = np.zeros((2, 2), int)
    np.add.at(matrix, (labels, scores.argmax(1)), 1)
    found = evidence_of(out)["evaluation"]
    stored = np.zeros((2, 2), int)
    for true, named, count in found["confusion"]:
        stored[true, named] = count
    np.testing.assert_array_equal(stored, matrix)
    report = json.loads((out / "report.json").read_text())
    assert report["accuracy"] == pytest.approx(np.mean(scores.argmax(1) == labels))
    wrong = np.flatnonzero(scores.argmax(1) != labels)
    assert len(found["wrong"]) == len(wrong)
    paths = {path.relative_to(out.parent / "data").as_posix() for path in (out.parent / "data").glob("*/*")}
    for row in found["wrong"]:
        assert row["name"] in paths and row["name"].startswith(NAMES[row["true"]])
        content = base64.b64decode(row["picture"].partition(",")[2])
        pixels = np.asarray(Image.open(io.BytesIO(content)))
        (place,) = [i for i in wrong if np.array_equal(images[i].astype("uint8"), pixels)]
        assert row["predicted"] == scores[place].argmax()
        assert row["score"] == pytest.approx(float(scores[place].max()), abs=1e-5)


@pytest.mark.process
def test_the_command_makes_the_page_again(ran, tmp_path):
    out, _, _ = ran
    status, output = kerasft_command("report", out)
    assert status == 1 and "Pass --overwrite to replace it" in " ".join(output.split())
    status, output = kerasft_command("report", out, "--out", tmp_path / "page.html")
    assert status == 0 and "page.html: " in output and "for any browser" in output
    assert (tmp_path / "page.html").read_text() == (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("files", "words", "status"),
    [
        ({}, "is no run", 1),
        ({"report": "{", "evidence": "{"}, "report.json is not valid JSON", 1),
        ({"report": stored_run.report(), "evidence": "{"}, "evidence.json is not valid JSON", 0),
        ({"report": stored_run.report(), "evidence": {"version": 3}}, "reads version 1", 0),
        ({"job": {}}, "has not ended", 0),
    ],
)
def test_what_is_wrong_with_a_run_is_said(tmp_path, files, words, status):
    folder = stored_run.write(tmp_path / "run", **files)
    found, output = kerasft_command("report", folder, "--out", tmp_path / "page.html")
    assert (found, (tmp_path / "page.html").exists()) == (status, status == 0), output
    assert "".join(words.split()) in "".join(output.split())  # wherever a long path breaks its line
