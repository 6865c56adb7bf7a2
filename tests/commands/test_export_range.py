"""The range of pixels in `kerasft export`: that of the run, and held against images where there are some."""

import json
import zipfile

import keras
import numpy as np
import pytest
from command_line import kerasft_command
from pictures import write_classes
from typer.testing import CliRunner

from kerasft.commands.main import app
from kerasft.data import PixelRule

SIDE = 8


def brightness(path, high):
    """A classifier of pictures below and above a mean of 100/255, of pixels from 0 to `high`."""
    inputs = keras.Input((SIDE, SIDE, 3), name="image")
    dense = keras.layers.Dense(2, "softmax")
    model = keras.Model(inputs, dense(keras.layers.GlobalAveragePooling2D()(inputs)))
    slope = 9 / high
    dense.set_weights([np.array([[-slope, slope]] * 3) / 3, np.array([1.0, -1.0]) * slope * high * 100 / 255])
    model.save(path)
    return path


@pytest.fixture
def run(tmp_path):
    """What a run with --resize mediapipe leaves beside its model, and images of its classes."""
    folder = tmp_path / "run"
    folder.mkdir()
    PixelRule("mediapipe").to_json(folder / "pixels.json")
    (folder / "labels.txt").write_text("dark\nlight\n")
    write_classes(tmp_path / "images", ("dark", "light"), count=24)
    return brightness(folder / "model.keras", 255), tmp_path


@pytest.mark.process
def test_without_data_the_files_of_the_run_say_what_pixels_are(run):
    model, folder = run
    words = ["export", model, "--out", folder / "m.tflite", "--pack", folder / "p.zip", "--json"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)  # the report alone
    assert report["input_range"] == [0.0, 255.0] and report["labels"] == ["dark", "light"]
    assert report["pixels"]["resize"] == "mediapipe" and "p.zip" in result.stderr
    with zipfile.ZipFile(folder / "p.zip") as archive:
        golden = [archive.read(n) for n in archive.namelist() if n.endswith(".bin") and "input" in n]
    values = np.frombuffer(b"".join(golden), "float32")
    assert 0 <= values.min() and 200 < values.max() <= 255


@pytest.mark.process
@pytest.mark.parametrize("noted", [True, False])
def test_a_few_images_do_not_hide_the_range_of_the_run(run, noted):
    model, folder = run
    if not noted:
        (model.parent / "pixels.json").unlink()
    words = ["export", model, "--out", folder / "m.tflite", "--data", folder / "images"]
    status, output = kerasft_command(*words)
    output = " ".join(output.split())
    assert status == 0 and "0 to 255" in output and "accuracy 1.0000" in output
    assert ("takes pixels from 0 to 255. Accuracy" in output) is not noted  # measured, where it is not noted


def test_a_range_that_fits_far_worse_is_refused(run):
    model, folder = run
    words = ["--out", folder / "m.tflite", "--data", folder / "images"]
    status, output = kerasft_command("export", model, *words, "--input-range", "0,1")
    output = "".join(output.split())  # a long path may be broken
    assert status == 1 and "--input-rangesays" in output and "0to255fitsfarbetter" in output
    other = brightness(model.parent / "other.keras", 1)
    status, output = kerasft_command("export", other, *words)
    output = "".join(output.split())
    assert status == 1 and "pixels.jsonsays" in output and "0to1fitsfarbetter" in output
    assert not (folder / "m.tflite").exists()
