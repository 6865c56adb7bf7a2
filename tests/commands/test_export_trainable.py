"""`kerasft export --trainable`: from a finished run to a file that learns, or one message and no file."""

import json
import re

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from command_line import SIDE, digits, kerasft_command

from kerasft import export
from kerasft.commands import export as module
from kerasft.commands.export_trainable import read_new_classes, trainable_options
from kerasft.data import PixelRule


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run: a classifier of digits, its labels, and its rule for pixels."""
    data = digits(600)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIDE, SIDE, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = keras.layers.ReLU(6.0)(keras.layers.Conv2D(16, 3, strides=2, name="conv")(x))
    x = keras.layers.Dense(32, activation="relu", name="hidden")(keras.layers.Flatten()(x))
    model = keras.Model(inputs, keras.layers.Dense(10, activation="softmax", name="scores")(x))
    model.compile(keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy")
    model.fit(data.train, epochs=15, verbose=0, shuffle=False)
    folder = tmp_path_factory.mktemp("run")
    model.save(folder / "model.keras")
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in data.class_names))
    PixelRule().to_json(folder / "pixels.json")
    return folder


@pytest.mark.process
def test_a_run_becomes_a_file_that_learns(run, tmp_path):
    """New classes are learned by the file alone, go back into the model of the run, and the pack holds."""
    out, pack = tmp_path / "head.tflite", tmp_path / "pack.zip"
    status, output = kerasft_command(
        "export", run / "model.keras", "--out", out, "--trainable", "--new-classes", "low,high",
        "--optimizer", "nesterov", "--learning-rate", 0.05, "--pack", pack,
    )  # fmt: skip
    assert status == 0, output
    assert "trains scores by sgd on categorical_crossentropy" in output and "classify" in output
    assert output.rstrip().endswith("verified")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "head.json", "head.npz", "head.tflite", "pack.zip",
    ]  # fmt: skip
    report = export.TrainableReport.from_json((tmp_path / "head.json").read_text())
    assert (report.labels, report.new_classes, report.precision) == (("low", "high"), True, "float32")
    constants = {"name": "sgd", "momentum": 0.9, "nesterov": True, "learning_rate": pytest.approx(0.05)}
    assert report.optimizer == constants
    assert report.pixels == PixelRule().to_dict() and report.input_range == (0.0, 255.0)
    status, output = kerasft_command("verify", pack)
    assert status == 0 and "train/loss" in output

    images, labels = (np.concatenate(part) for part in zip(*digits(600).train.as_numpy_iterator()))
    images, high = images[:100], (labels[:100] >= 5).astype(int)
    file = Interpreter(str(out))
    features, train = (file.get_signature_runner(name) for name in ("features", "train"))
    recorded = np.concatenate([features(image=image[None])["features"] for image in images])
    state = dict(np.load(tmp_path / "head.npz"))
    digest = state.pop("digest")
    target, rate = np.eye(2, dtype="float32")[high], np.float32([0.02])
    for _ in range(300):
        state = train(features=recorded, target=target, learning_rate=rate, **state)
        del state["loss"]
    np.savez(tmp_path / "trained.npz", digest=digest, **state)
    learned = export.load_head(keras.models.load_model(run / "model.keras"), tmp_path / "trained.npz")
    assert np.mean(learned.predict(images, verbose=0).argmax(1) == high) > 0.9


@pytest.mark.network
@pytest.mark.process
def test_a_page_teaches_the_file(run, tmp_path):
    out, page = tmp_path / "head.tflite", tmp_path / "page"
    words = ["--trainable", "--new-classes", "low,high", "--web", page]
    status, output = kerasft_command("export", run / "model.keras", "--out", out, *words)
    assert status == 0 and f"--directory {page}" in " ".join(output.split()), output
    stored = json.loads((page / "model.json").read_text())
    assert stored["labels"] == ["low", "high"] and "Train" in (page / "index.html").read_text()


@pytest.mark.process
def test_integers_on_data_from_an_earlier_layer_on(run, tmp_path):
    out = tmp_path / "head.tflite"
    status, output = kerasft_command(
        "export", run / "model.keras", "--out", out, "--trainable", "--depth", "hidden",
        "--precision", "int8", "--data", "digits", "--limit", 600, "--max-drop", 0.05, "--train-batch", 8,
        "--json",
    )  # fmt: skip
    assert status == 0, output
    report = json.loads(output[output.index("{\n") : output.rindex("}") + 1])
    assert (report["precision"], report["depth"]) == ("int8", "hidden")
    assert report["optimizer"]["name"] == "adam" and report["quality"]["accuracy_file"] > 0.8
    assert Interpreter(str(out)).get_signature_runner("train").get_input_details()["features"][
        "shape_signature"
    ].tolist() == [8, 7 * 7 * 16]


@pytest.mark.process
def test_a_depth_that_does_not_work_names_those_that_do_and_writes_nothing(run, tmp_path):
    words = ["export", run / "model.keras", "--out", tmp_path / "head.tflite", "--trainable", "--depth"]
    status, output = kerasft_command(*words, "conv")
    assert status == 1 and "can't train on the device" in " ".join(output.split()), output
    status, output = kerasft_command(*words, "nothing")
    assert status == 1 and "'hidden', 'scores'" in " ".join(output.split())
    status, output = kerasft_command(*words, "scores", "--loss", "hinge")
    assert status == 1 and "'hinge' is not among" in " ".join(output.split())
    status, output = kerasft_command(*words, "scores", "--max-drop", 0.1)
    assert status == 1 and "no accuracy was measured" in " ".join(output.split())
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "head.npz").write_text("mine")
    status, output = kerasft_command(*words, "scores")
    assert status == 1 and "head.npz exists" in " ".join(output.split())
    assert (tmp_path / "head.npz").read_text() == "mine" and not (tmp_path / "head.tflite").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--depth", "scores"), "--depth is about a file that trains on the device: pass --trainable"),
        (("--new-classes", "3", "--optimizer", "sgd"), "--optimizer, --new-classes is about"),
        (("--trainable", "--out", "folder"), "an --out that ends in .tflite; received folder"),
        (("--trainable", "--precision", "all", "--out", "folder"), "goes with one precision"),
        (("--trainable", "--metadata", "--batch", "any"), "--batch, --metadata says nothing"),
        (("--trainable", "--target", "micro"), "--target, --io says nothing"),
        (("--trainable", "--io", "uint8", "--precision", "int8", "--data", "digits"), "--io says nothing"),
        (("--trainable", "--calibration-samples", "9"), "--calibration-samples says nothing"),
        (("--trainable", "--optimizer", "lion"), "--optimizer is one of adam, momentum, nesterov, sgd"),
        (("--trainable", "--learning-rate", "0"), "--learning-rate is a number above 0; received 0"),
        (("--trainable", "--learning-rate", "nan"), "--learning-rate is a number above 0"),
        (("--trainable", "--new-classes", "0"), "--new-classes is 1 or more"),
        (("--trainable", "--new-classes", ","), "--new-classes is a number or names"),
        (("--trainable", "--new-classes", "a,a"), "labels are unique"),
        (("--trainable", "--new-classes", "none.txt"), "none.txt"),
        (("--trainable", "--train-batch", "0"), "'--train-batch'"),
        (("--trainable", "--precision", "int8"), "representative_data"),
        (("--trainable", "--no-strict"), "--no-strict goes with --precision int8"),
        (("--trainable", "--normalization", "1,2", "--input-range", "0,1"), "give one of them"),
    ],
)
def test_contradictions_end_before_anything_is_loaded(tmp_path, monkeypatch, words, message):
    monkeypatch.setattr(module, "load_libraries", lambda: pytest.fail("loaded"))
    (tmp_path / "model.keras").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    out = () if "--out" in words else ("--out", "m.tflite")
    status, output = kerasft_command("export", "model.keras", *out, *words)
    assert status in (1, 2) and message in re.sub(r"[\s│]+", " ", output), output
    assert [p.name for p in tmp_path.iterdir()] == ["model.keras"]


def test_new_classes_are_a_number_names_or_a_file(tmp_path):
    (tmp_path / "names.txt").write_text("left\nright\n")
    assert read_new_classes(None) is None and read_new_classes("3") == 3
    assert read_new_classes("left, right") == ["left", "right"]
    assert read_new_classes(str(tmp_path / "names.txt")) == ["left", "right"]


@pytest.mark.parametrize(
    ("name", "config"),
    [
        (None, {"beta_1": 0.9, "learning_rate": 0.001}),
        ("sgd", {"momentum": 0.0, "nesterov": False, "learning_rate": 0.01}),
        ("momentum", {"momentum": 0.9, "nesterov": False, "learning_rate": 0.01}),
        ("nesterov", {"momentum": 0.9, "nesterov": True, "learning_rate": 0.01}),
    ],
)
def test_options_reach_the_exporter(name, config):
    given = dict.fromkeys(("depth", "precision", "learning_rate", "loss", "new_classes", "train_batch"))
    taken = {"labels": ["a"], "strict": True, "overwrite": True}
    options = trainable_options(
        {**given, "optimizer": name, "seed": 5}, {**taken, "batch": 1, "metadata": False}
    )
    optimizer = options.pop("optimizer")
    assert type(optimizer) is (keras.optimizers.Adam if name is None else keras.optimizers.SGD)
    assert {key: optimizer.get_config()[key] for key in config} == pytest.approx(config)
    assert options == {
        **taken, "depth": "head", "precision": "float32", "loss": None, "new_classes": None, "batch": None,
        "seed": 5,
    }  # fmt: skip
