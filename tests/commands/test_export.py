"""Export, verify and inspect, as they are typed."""

import json
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from command_line import SIDE, kerasft_command
from command_line import digits as load_digits

from kerasft import export
from kerasft.commands.export_data import read_labels


@pytest.fixture
def model(tmp_path, dense_model):
    dense_model.save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A classifier of scikit-learn's digits, trained for a moment, as a file."""
    data = load_digits(600)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIDE, SIDE, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = keras.layers.ReLU(6.0)(keras.layers.Conv2D(16, 3, strides=2)(x))
    x = keras.layers.Flatten()(x)
    model = keras.Model(inputs, keras.layers.Dense(10, activation="softmax", name="scores")(x))
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(data.train, epochs=8, verbose=0, shuffle=False)
    path = tmp_path_factory.mktemp("digits") / "model.keras"
    model.save(path)
    return path


def test_inspect_shows_stages(model, tmp_path, dense_model):
    status, output = kerasft_command("inspect", model)
    assert status == 0 and "second" in output and "35" in output
    handle = export.to_saved_model(dense_model, tmp_path / "saved")
    status, output = kerasft_command("inspect", handle)
    assert status == 0 and "second" in output


@pytest.mark.process
def test_export_writes_and_reports(model, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\n")
    status, output = kerasft_command("export", model, "--out", tmp_path / "m.tflite", "--labels", labels)
    assert status == 0 and "labels" in output and "3: a, b, c" in output
    assert (tmp_path / "m.tflite").stat().st_size > 100
    status, output = kerasft_command("export", model, "--out", tmp_path / "saved")
    assert status == 0 and (tmp_path / "saved" / "saved_model.pb").exists()


@pytest.mark.parametrize(
    ("content", "labels"),
    [(b"a\r\nb\r\n", ["a", "b"]), ("\ufeffä\nb".encode(), ["ä", "b"]), (b"a b\nc\n", ["a b", "c"])],
)
def test_labels_are_read_a_line_each(tmp_path, content, labels):
    (tmp_path / "labels.txt").write_bytes(content)
    assert read_labels(tmp_path / "labels.txt") == labels


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\n\nb\n", "label 1 is ''"),
        ("a\nb\u2028c\n", "label 1"),
        ("a\na\n", "unique"),
        ("a \nb\n", "blanks"),
    ],
)
def test_labels_that_no_file_with_labels_can_hold_are_refused(tmp_path, content, message):
    path = tmp_path / "labels.txt"
    path.write_bytes(content.encode())
    with pytest.raises(ValueError, match=rf"labels\.txt \(its first line is label 0\).*{message}"):
        read_labels(path)


@pytest.mark.process
def test_int8_is_calibrated_and_measured_on_data_and_packed(digits, tmp_path):
    out, pack = tmp_path / "m.tflite", tmp_path / "pack.zip"
    status, output = kerasft_command(
        "export", "--json", digits, "--out", out, "--precision", "int8", "--io", "uint8", "--data", "digits",
        "--limit", 600, "--max-drop", 0.05, "--pack", pack,
    )  # fmt: skip
    assert status == 0, output
    report = json.loads(output[output.index("{") : output.rindex("}") + 1])
    assert report["precision"] == "int8" and report["inputs"][0]["dtype"] == "uint8"
    assert report["quality"]["samples"] > 100 and report["quality"]["accuracy_file"] > 0.8
    assert report["labels"] == [str(n) for n in range(10)] and report["input_range"] == [0.0, 255.0]
    status, output = kerasft_command("verify", pack)
    assert status == 0 and "int8" in output
    with zipfile.ZipFile(pack) as archive:
        archive.extractall(tmp_path / "pack")
    (file,) = (tmp_path / "pack").glob("*.tflite")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    status, output = kerasft_command("verify", tmp_path / "pack")
    assert status == 1 and file.name in output and "Traceback" not in output


@pytest.mark.process
def test_images_come_in_the_range_that_the_models_own_rescaling_decides(digits, tmp_path):
    trained = keras.models.load_model(digits)
    inputs = keras.Input((SIDE, SIDE, 3), name="image")
    unit = keras.Model(inputs, trained(keras.layers.Rescaling(255.0)(inputs)))  # takes 0..1
    unit.save(tmp_path / "unit.keras")
    status, output = kerasft_command(
        "export",
        "--json",
        tmp_path / "unit.keras",
        "--out",
        tmp_path / "m.tflite",
        "--data",
        "digits",
        "--limit",
        600,
    )
    assert status == 0, output
    report = json.loads(output[output.index("{") : output.rindex("}") + 1])
    assert report["input_range"] == [0.0, 1.0]
    test = load_digits(600).test
    right = np.concatenate([trained(x, training=False).numpy().argmax(1) == y for x, y in test])
    assert report["quality"]["accuracy_model"] == pytest.approx(right.mean()) and right.mean() > 0.8


def test_verify_needs_no_tensorflow():
    code = "import sys; from kerasft.export import verify_pack; print('tensorflow' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


@pytest.mark.process
def test_all_precisions_are_compared(digits, tmp_path):
    out = tmp_path / "ladder"
    status, output = kerasft_command(
        "export", digits, "--out", out, "--precision", "all", "--data", "digits", "--limit", 600
    )
    assert status == 0, output
    assert "is the choice" in output and "weight_only" in output and "accuracy" in output
    assert {"float32.tflite", "int8.tflite", "int8_io.tflite", "ladder.json", "ladder.png"} <= {
        p.name for p in out.iterdir()
    }


@pytest.mark.process
def test_limits_that_no_precision_keeps_give_a_status_and_keep_the_files(model, tmp_path):
    out = tmp_path / "ladder"
    status, output = kerasft_command("export", model, "--out", out, "--precision", "all", "--max-bytes", 1)
    assert status == 1 and "No variant keeps the limits" in output and "error:" not in output
    assert (out / "float32.tflite").exists()


@pytest.mark.process
def test_golden_inputs_without_data_are_in_the_range_that_was_given(model, tmp_path):
    status, output = kerasft_command(
        "export",
        model,
        "--out",
        tmp_path / "m.tflite",
        "--pack",
        tmp_path / "p.zip",
        "--input-range",
        "-3,-2",
    )
    assert status == 0, output
    with zipfile.ZipFile(tmp_path / "p.zip") as archive:
        golden = [archive.read(n) for n in archive.namelist() if n.endswith(".bin") and "input" in n]
    values = np.frombuffer(b"".join(golden), "float32")
    assert len(golden) >= 1 and -3 <= values.min() and values.max() <= -2


def test_inspect_shows_what_accelerators_refuse(digits, tmp_path):
    export.to_tflite(keras.models.load_model(digits), tmp_path / "m.tflite")
    status, output = kerasft_command("inspect", tmp_path / "m.tflite")
    assert status == 0 and "edgetpu" in output and "xnnpack" in output and "CONV_2D" in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("inspect", "nowhere"), "no folder"),
        (("inspect", "nowhere.keras"), "no file"),
        (("inspect", "nowhere.tflite"), "no file"),
        (("verify", "nowhere.zip"), "nowhere.zip"),
        (("export", "nowhere.keras", "--out", "a.tflite"), "no file"),
        (("export", ".", "--out", "a.tflite"), "is a folder. Give a .keras file"),
        (("export", "{model}", "--out", "a.tflite", "--precision", "all"), "--out is a folder"),
        (("export", "{model}", "--out", "a", "--precision", "int8"), "ends in .tflite"),
        (("export", "{model}", "--out", "a", "--pack", "b.zip"), "ends in .tflite"),
        (
            ("export", "{model}", "--out", "a.tflite", "--max-ms", "9"),
            "choose among the files of --precision all",
        ),
        (("export", "{model}", "--out", "a.tflite", "--precision", "int8"), "representative_data"),
        (("export", "{model}", "--out", "a.tflite", "--precision", "int4"), "precision is one of"),
        (("export", "{model}", "--out", "a.tflite", "--data", "digits"), "square images in colour"),
        (("export", "{model}", "--out", "a.tflite", "--input-range", "1"), "takes 2"),
    ],
)
def test_mistakes_are_one_message(words, message, dense_model, tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    dense_model.save(tmp_path / "model.keras")
    monkeypatch.chdir(folder)
    status, output = kerasft_command(*(w.format(model=tmp_path / "model.keras") for w in words))
    assert status == 1
    assert message in " ".join(output.split()) and "Traceback" not in output
    assert list(folder.iterdir()) == []
