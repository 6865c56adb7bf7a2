"""Options of `kerasft export`: each reaches the exporter, and contradictions end before anything loads."""

import json
import re

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from command_line import kerasft_command
from pictures import write_classes

from kerasft.commands import export as module
from kerasft.commands.export_data import read_normalization
from kerasft.commands.export_options import read_score_calibration
from kerasft.data import PixelRule

SIDE = 16
MEAN, STD = [120.0, 110.0, 100.0], [60.0, 50.0, 40.0]


@pytest.fixture
def pictures(tmp_path):
    write_classes(tmp_path / "images", ("dark", "light"), count=40)
    return tmp_path / "images"


def brightness(path, normalized=True):
    """A classifier of normalized pictures: above or below a mean of 100/255."""
    inputs = keras.Input((SIDE, SIDE, 3), name="image")
    x = keras.layers.Conv2D(3, 1, name="conv")(inputs)
    dense = keras.layers.Dense(2, "softmax", name="scores")
    model = keras.Model(inputs, dense(keras.layers.GlobalAveragePooling2D()(x)))
    std, mean = (np.array(STD), np.array(MEAN)) if normalized else (np.ones(3), np.zeros(3))
    model.get_layer("conv").set_weights([np.diag(std)[None, None] / 255, mean / 255])  # pixels of 0 to 1
    dense.set_weights([np.array([[-30, 30]] * 3) / 3, np.array([1.0, -1.0]) * 30 * 100 / 255])
    model.save(path)
    return path


@pytest.mark.process
def test_normalization_is_applied_to_data_and_recorded(tmp_path, pictures):
    model, out = brightness(tmp_path / "model.keras"), tmp_path / "m.tflite"
    numbers = ",".join(map(str, [*MEAN, *STD]))
    status, output = kerasft_command(
        "export", model, "--out", out, "--data", pictures, "--normalization", numbers, "--json",
        "--precision", "int8", "--calibration-samples", 20,
    )  # fmt: skip
    assert status == 0, output
    report = json.loads(output[output.index("{\n") : output.rindex("}") + 1])
    assert report["normalization"] == [MEAN, STD] and report["input_range"] is None
    assert report["preprocessing"].startswith("by the client") and report["quality"]["accuracy_file"] > 0.95
    white = (255 - np.array(MEAN)) / STD
    run = Interpreter(str(out)).get_signature_runner()
    (scores,) = run(image=np.broadcast_to(white, (1, SIDE, SIDE, 3)).astype("float32")).values()
    assert scores.argmax() == 1


def test_a_normalization_that_fits_far_worse_is_refused(tmp_path, pictures):
    model = brightness(tmp_path / "model.keras", normalized=False)  # takes pixels of 0 to 255
    words = ["--out", tmp_path / "m.tflite", "--data", pictures, "--normalization", "120,60"]
    status, output = kerasft_command("export", model, *words)
    output = " ".join(output.split())
    assert status == 1 and "--normalization says" in output and "fits far better" in output
    assert not (tmp_path / "m.tflite").exists()


@pytest.mark.process
def test_batch_tolerance_and_strictness_reach_the_exporter(tmp_path, pictures):
    model = brightness(tmp_path / "model.keras")
    words = ["export", model, "--normalization", "120,60", "--out"]
    status, output = kerasft_command(*words, tmp_path / "any.tflite", "--batch", "any")
    assert status == 0 and "any × 16 × 16 × 3" in output, output
    assert Interpreter(str(tmp_path / "any.tflite")).get_input_details()[0]["shape_signature"][0] == -1
    exactly = ["--precision", "float16", "--tolerance", 0]
    status, output = kerasft_command(*words, tmp_path / "tight.tflite", *exactly)
    assert status == 1 and "does not keep its contract" in output
    sine = keras.Input((SIDE, SIDE, 3), name="image")
    x = keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(1 / 255)(sine))
    x = keras.layers.GlobalAveragePooling2D()(keras.ops.sin(x))
    keras.Model(sine, keras.layers.Dense(2, activation="softmax")(x)).save(tmp_path / "sine.keras")
    words = ["export", tmp_path / "sine.keras", "--data", pictures, "--precision", "int8"]
    status, output = kerasft_command(*words, "--out", tmp_path / "s.tflite")
    assert status == 1 and "SIN" in output
    status, output = kerasft_command(*words, "--out", tmp_path / "s.tflite", "--no-strict")
    assert status == 0, output


def test_how_many_samples_calibrate_is_passed_on(tmp_path, pictures, monkeypatch):
    import kerasft.export as exporters

    seen = {}

    def stop(*_, **options):
        seen.update(options)
        raise ValueError("seen")

    monkeypatch.setattr(exporters, "to_tflite", stop)
    model = brightness(tmp_path / "model.keras")
    words = ["export", model, "--out", tmp_path / "m.tflite", "--data", pictures, "--normalization", "120,60"]
    words += ["--precision", "int8", "--calibration-samples", 7]
    kerasft_command(*words, "--no-strict", "--tolerance", 0.5)
    assert seen["calibration_samples"] == 7 and seen["strict"] is False and seen["tolerance"] == 0.5
    assert seen["normalization"] == (120.0, 60.0) and seen["batch"] == 1 and "input_range" not in seen


@pytest.mark.process
def test_score_calibration_is_in_the_file(tmp_path):
    pytest.importorskip("mediapipe")
    model = brightness(tmp_path / "model.keras", normalized=False)
    (tmp_path / "labels.txt").write_text("dark\nlight\n")
    (tmp_path / "scores.json").write_text(
        '{"parameters": [[1, 2.5, -0.5], null], "transformation": "log", "default_score": 0.25}'
    )
    status, output = kerasft_command(
        "export", model, "--out", tmp_path / "m.tflite", "--metadata", "--input-range", "0,255",
        "--score-calibration", tmp_path / "scores.json", "--labels", tmp_path / "labels.txt",
    )  # fmt: skip
    assert status == 0, output
    assert b"score_calibration.txt" in (tmp_path / "m.tflite").read_bytes()
    found = read_score_calibration(tmp_path / "scores.json")
    assert found.to_text() == "1.0,2.5,-0.5\n" and found.default_score == 0.25


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[1, 2]", "has the keys parameters.*found list"),
        ('{"parameters": [], "slope": 1}', r"found \['parameters', 'slope'\]"),
        ('{"parameters": ["a"]}', r"found \['a'\]"),
        ('{"parameters": [[1, true, 0]]}', "min_score"),
        ('{"parameters": [[1, 2]]}', "label 0"),
        ('{"parameters": [[1, 2, 3]], "transformation": "cube"}', "transformation is one of"),
        ('{"parameters": [[1, 2, 3]], "default_score": "x"}', "default_score"),
        ('{"parameters": [[1, 2, 3]], "parameters": []}', "twice"),
        ("{", "not valid JSON"),
    ],
)
def test_damaged_score_calibrations_are_refused_with_the_file_named(tmp_path, content, words):
    (tmp_path / "scores.json").write_text(content)
    with pytest.raises(ValueError, match=rf"(?s)scores\.json.*{words}|{words}.*scores\.json"):
        read_score_calibration(tmp_path / "scores.json")


@pytest.mark.parametrize(("text", "found"), [("1,2", ([1], [2])), ("1,2,3,4,5,6", ([1, 2, 3], [4, 5, 6]))])
def test_normalizations(text, found):
    assert read_normalization(text) == found


IMAGE = ("--data", "digits")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--normalization", "1"), "MEAN,STD, or three means"),
        (("--normalization", "1,2,3,4"), "MEAN,STD, or three means"),
        (("--normalization", "1,0"), "deviations above 0"),
        (("--normalization", "nan,1"), "finite numbers"),
        (("--normalization", "a,b"), "numbers separated by commas"),
        (("--normalization", "1,2", "--input-range", "0,1"), "give one of them"),
        (("--batch", "2"), "--batch is 1, or any"),
        (("--tolerance", "-1"), "--tolerance is a number of 0 or more"),
        (("--tolerance", "nan"), "--tolerance is a number"),
        (("--max-drop", "5"), "in 0 to 1"),
        (("--no-strict",), "--no-strict goes with --precision int8"),
        (("--calibration-samples", "9"), "--calibration-samples goes with --precision int8"),
        (("--calibration-samples", "0", "--precision", "int8"), "'--calibration-samples'"),
        (("--image-size", "24"), "--image-size needs --data"),
        (("--image-size", "4", *IMAGE), "'--image-size'"),
        (("--score-calibration", "none.json"), "pass --metadata as well"),
        (("--score-calibration", "none.json", "--metadata"), "none.json"),
        (("--precision", "int8"), "representative_data"),
        (("--precision", "int4"), "precision is one of"),
        (("--precision", "float16", "--io", "int8"), 'goes with precision="int8"'),
        (("--precision", "all", "--out", "folder", "--tolerance", "1"), "each has its own"),
        (("--out", "folder", "--batch", "any"), "--batch says nothing"),
        (("--out", "folder", "--no-strict", "--tolerance", "1"), "--tolerance, --no-strict says nothing"),
    ],
)
def test_contradictions_end_before_anything_is_loaded(tmp_path, monkeypatch, words, message):
    def heavy(*_):
        raise AssertionError("loaded")

    monkeypatch.setattr(module, "load_libraries", heavy)
    (tmp_path / "model.keras").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    out = () if "--out" in words else ("--out", "m.tflite")
    status, output = kerasft_command("export", "model.keras", *out, *words)
    assert status in (1, 2) and message in re.sub(r"[\s│]+", " ", output), output
    assert [p.name for p in tmp_path.iterdir()] == ["model.keras"]


def test_the_rule_of_a_run_and_a_normalization_contradict(tmp_path):
    (tmp_path / "model.keras").write_bytes(b"")
    PixelRule().to_json(tmp_path / "pixels.json")
    words = ["export", tmp_path / "model.keras", "--out", tmp_path / "m.tflite"]
    status, output = kerasft_command(*words, "--normalization", "127.5,127.5")
    assert status == 1 and "applied twice" in " ".join(output.split())
