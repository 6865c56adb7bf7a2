"""The files of a page that teaches: the model with a fixed number of samples, the first weights, refusals."""

import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from kerasft.export.clients import browser
from kerasft.export.clients.browser import to_web
from kerasft.export.clients.teaching import BATCH, lesson_json, sized
from kerasft.export.on_device.state import read_state, write_npz
from small_models import classifier, fitted, images

from kerasft import export


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A head for four new classes, in steps of any size."""
    path = tmp_path_factory.mktemp("exported") / "head.tflite"
    adam = keras.optimizers.Adam(0.02)
    given = {"new_classes": 4, "input_range": (0, 255)}
    return export.to_trainable_tflite(fitted(classifier()), path, optimizer=adam, **given)


@pytest.fixture
def npm_files(monkeypatch):
    """Lets a page have empty files in place of LiteRT.js."""

    def installed(folder):
        found = folder / "node_modules" / "@litertjs"
        for name in browser._RUNTIME:
            (found / name).parent.mkdir(parents=True, exist_ok=True)
            (found / name).touch()
        return found

    monkeypatch.setattr(browser, "_install", installed)


@pytest.fixture
def copy(report, tmp_path):
    """The report on a copy of the files, which a test may change."""
    for suffix in (".tflite", ".npz"):
        source = Path(report.path).with_suffix(suffix)
        (tmp_path / source.name).write_bytes(source.read_bytes())
    return dataclasses.replace(report, path=str(tmp_path / "head.tflite"))


def runners(path):
    file = Interpreter(str(path))
    return {name: file.get_signature_runner(name) for name in file.get_signature_list()}


@pytest.mark.parametrize("batch", [1, 5])
def test_the_sized_file_computes_what_the_exported_one_does(report, tmp_path, batch):
    path = tmp_path / "sized.tflite"
    path.write_bytes(sized(report.read_file(), batch))
    made, whole = runners(path), runners(report.path)
    assert set(made) == {"features", "train", "scores"} and set(whole) == {*made, "classify"}
    for name, runner in made.items():
        for details in (*runner.get_input_details().values(), *runner.get_output_details().values()):
            assert min([*details["shape_signature"], 1]) == 1, (name, details["name"])
    assert tuple(made["train"].get_input_details()["target"]["shape"]) == (batch, 4)

    state = read_state(Path(report.path).with_suffix(".npz"))[0]
    x, y = images(batch, seed=7)
    features = np.concatenate([made["features"](image=one[None])["features"] for one in x])
    target = np.eye(4, dtype="float32")[y]
    given = {"features": features, "target": target, "learning_rate": np.float32([0.02])}
    for name, value in whole["train"](**given, **state).items():
        np.testing.assert_allclose(made["train"](**given, **state)[name], value, rtol=1e-6, atol=1e-7)
    weights = {w.name: state[w.name] for w in report.weights}
    expected = whole["scores"](features=features, **weights)["scores"]
    np.testing.assert_allclose(made["scores"](features=features, **weights)["scores"], expected, rtol=1e-6)


def test_the_folder(report, npm_files, tmp_path):
    folder = to_web(report, tmp_path / "page")
    assert {p.name for p in folder.iterdir()} == {
        "index.html", *browser._LESSONS.files, "litert", "model.json", "model.tflite", "weights.safetensors",
    }  # fmt: skip
    page = [p for p in folder.iterdir() if p.suffix in (".html", ".js", ".css", ".json")]
    assert sum(p.stat().st_size for p in page) < 300_000
    state, digest = read_state(folder / "weights.safetensors")
    first, _ = read_state(Path(report.path).with_suffix(".npz"))
    assert digest == report.digest and list(state) == [w.name for w in report.state]
    assert all(np.array_equal(state[name], first[name]) for name in first)
    about = json.loads((folder / "model.json").read_text())
    assert (about["classes"], about["batch"], about["features"]) == (4, BATCH, [8])
    assert (about["labels"], about["new_classes"], about["probabilities"]) == (None, True, True)
    assert about["mean"] == [0.0] * 3 and about["std"] == [1.0] * 3
    assert about["learning_rate"] == pytest.approx(0.02) and about["optimizer"] == "adam"
    assert to_web(report, folder, overwrite=True) == folder


def test_logits_are_no_probabilities(npm_files, tmp_path):
    inputs = keras.Input((8, 8, 3), name="image")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(6, 3)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3, name="logits")(x))
    given = {"optimizer": "sgd", "input_range": (0, 255), "batch": 4}
    loss = "categorical_crossentropy"
    report = export.to_trainable_tflite(model, tmp_path / "a.tflite", loss=loss, **given)
    about = json.loads((to_web(report, tmp_path / "page") / "model.json").read_text())
    assert (about["probabilities"], about["batch"], about["new_classes"]) == (False, 4, False)
    report = export.to_trainable_tflite(model, tmp_path / "b.tflite", loss="mse", **given)
    with pytest.raises(ValueError, match=r"classes or measures.*loss='categorical_crossentropy'"):
        to_web(report, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def changed(report, signature, side, **change):
    """The report with another tensor in a signature."""
    old = report.signatures[signature]
    tensors = tuple(dataclasses.replace(t, **change) for t in getattr(old, side))
    signatures = {**report.signatures, signature: dataclasses.replace(old, **{side: tensors})}
    return dataclasses.replace(report, signatures=signatures)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: changed(r, "features", "inputs", shape=(1, 8, 8, 4)), "1 or 3"),
        (lambda r: changed(r, "features", "inputs", dtype="int32"), "io='float'"),
        (lambda r: changed(r, "scores", "outputs", shape=(-1, 1)), "two classes or more"),
        (lambda r: changed(r, "scores", "outputs", shape=(-1, 3, 3)), "two classes or more"),
        (lambda r: changed(r, "scores", "outputs", shape=(-1, 1000)), r"up to 50.*1000 outputs.*new_classes"),
        (lambda r: dataclasses.replace(r, input_range=None, normalization=None), "input_range"),
        (lambda r: dataclasses.replace(r, labels=("a", "b")), "2 labels"),
    ],
)
def test_what_the_page_can_not_teach_is_refused(report, change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        to_web(change(report), tmp_path / "page")
    assert list(tmp_path.iterdir()) == []


def test_texts_are_refused(report):
    text = export.Text(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a"], 8)
    with pytest.raises(ValueError, match="takes texts"):
        lesson_json(dataclasses.replace(report, text=text))


def test_files_that_were_changed_or_are_gone_are_refused(copy, tmp_path):
    first = tmp_path / "head.npz"
    state, digest = read_state(first)

    def refused(message):
        with pytest.raises(export.ExportError, match=message):
            to_web(copy, tmp_path / "page")
        assert not (tmp_path / "page").exists()

    content = first.read_bytes()
    write_npz(first, {name: value + 1 for name, value in state.items()}, digest)
    refused("head.npz was changed since its export")
    first.unlink()
    refused("head.npz is not there")
    first.write_bytes(content)
    (tmp_path / "head.tflite").write_bytes(b"other")
    refused("changed since its export")
