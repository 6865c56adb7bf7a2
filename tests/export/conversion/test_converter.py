"""The script in the converter's process, and its protocol: one JSON request a line."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from kerasft.export.conversion import converter, process
from kerasft.export.tflite_file.operations import custom, in_float, read_operations

from kerasft import export


@pytest.fixture(scope="module")
def folder():
    rng = np.random.default_rng(0)
    inputs = {"b": keras.Input((4,), name="b"), "a": keras.Input((4,), name="a")}
    x = keras.layers.Subtract()([inputs["b"], inputs["a"]])
    model = keras.Model(inputs, keras.layers.Dense(3, activation="relu", name="y")(x))
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    with process.saved(model, 1) as path:
        yield path


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Eleven samples, so that their order by name is not that of their numbers."""
    path = tmp_path_factory.mktemp("samples") / "samples.npz"
    values = {
        f"{i}/{n}": np.full((1, 4), i + k, "float32") for i in range(11) for n, k in (("a", 0), ("b", 9))
    }
    np.savez(path, **values)
    return path


def test_samples_come_by_number_and_name(samples):
    found = list(converter._calibration_samples(str(samples)))
    assert [float(s["a"][0, 0]) for s in found] == list(range(11))
    assert all(np.array_equal(s["b"], s["a"] + 9) for s in found)


# in its own process the converter may say what it likes
@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")
@pytest.mark.parametrize(
    ("precision", "io", "inputs", "inside"),
    [
        ("float32", "float", "float32", None), ("float16", "float", "float32", "float16"),
        ("dynamic", "float", "float32", None), ("int8", "float", "float32", "int8"),
        ("int8", "int8", "int8", "int8"), ("int8", "uint8", "uint8", "int8"),
    ],
)  # fmt: skip
def test_precisions(folder, samples, tmp_path, precision, io, inputs, inside):
    out = tmp_path / "model.tflite"
    converter.convert(
        {"saved_model": str(folder), "out": str(out), "precision": precision, "io": io,
         "samples": str(samples)}
    )  # fmt: skip
    operations = read_operations(out.read_bytes())
    assert custom(operations) == []
    details = Interpreter(str(out)).get_signature_runner("serving_default").get_input_details()
    assert {k: np.dtype(v["dtype"]).name for k, v in details.items()} == {"a": inputs, "b": inputs}
    kinds = {t.dtype for o in operations for t in (*o.inputs, *o.outputs)}
    assert inside is None or inside in kinds
    if precision == "int8":
        assert in_float(operations) == []


def test_the_protocol(folder, tmp_path):
    lines = [
        {"saved_model": str(tmp_path / "none"), "out": str(tmp_path / "a"), "precision": "float32"},
        {"saved_model": str(folder), "out": str(tmp_path / "b"), "precision": "float32", "io": "float"},
    ]
    done = subprocess.run(
        [sys.executable, "-P", str(Path(converter.__file__))],
        input="".join(json.dumps(line) + "\n" for line in lines), capture_output=True, text=True, check=True,
    )  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines()]  # and nothing else is printed there
    assert [a["ok"] for a in answers] == [False, True]
    assert "none" in answers[0]["error"]
    assert (tmp_path / "b").read_bytes()[4:8] == b"TFL3" and not (tmp_path / "a").exists()


def test_signatures_by_name(tmp_path):
    spec = tf.TensorSpec((1, 2), tf.float32, name="x")
    named = {"twice": tf.function(lambda x: {"y": 2 * x}), "not": tf.function(lambda x: {"y": -x})}
    named["thrice"] = tf.function(lambda x: {"y": 3 * x})
    traced = {name: f.get_concrete_function(x=spec) for name, f in named.items()}
    folder = tmp_path / "saved"
    tf.saved_model.save(tf.Module(), str(folder), signatures=traced)
    content = process.converter_process().convert(
        folder, "float32", "float", (), signatures=("twice", "thrice")
    )
    found = Interpreter(model_content=content)
    assert set(found.get_signature_list()) == {"twice", "thrice"}
    got = found.get_signature_runner("thrice")(x=np.float32([[1, 2]]))["y"]
    np.testing.assert_array_equal(got, [[3, 6]])


def test_flex_is_never_written(tmp_path):
    inputs = keras.Input((8,))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: tf.math.igamma(x + 1.0, x + 2.0))(inputs))
    for precision in ("float32", "int8"):
        data = np.ones((16, 8), "float32")
        with pytest.raises(export.ExportError, match=r"built-in operations.*tf\.Igamma"):
            export.to_tflite(
                model, tmp_path / "model.tflite", precision=precision, representative_data=data, strict=False
            )
    assert list(tmp_path.iterdir()) == []
