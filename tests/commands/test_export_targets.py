"""`kerasft export --target`: the file in TFLite Micro, as a C array, and compiled for an NPU."""

import importlib.util
import re

import keras
import numpy as np
import pytest
from command_line import SIDE, kerasft_command
from command_line import digits as load_digits

from kerasft import export
from kerasft.commands import export as module


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A classifier of digits, trained for a moment."""
    data = load_digits(400)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIDE, SIDE, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = keras.layers.ReLU(6.0)(keras.layers.Conv2D(8, 3, strides=2)(x))
    x = keras.layers.Dense(10, activation="softmax", name="scores")(keras.layers.Flatten()(x))
    model = keras.Model(inputs, x)
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(data.train, epochs=4, verbose=0, shuffle=False)
    path = tmp_path_factory.mktemp("digits") / "model.keras"
    model.save(path)
    return path


@pytest.mark.process
@pytest.mark.skipif(importlib.util.find_spec("tflite_micro") is None, reason="no wheel of tflite-micro")
@pytest.mark.skipif(importlib.util.find_spec("ethosu") is None, reason="no wheel of ethos-u-vela")
def test_both_toolchains_run_and_say_what_they_found(model, tmp_path):
    out = tmp_path / "digits.tflite"
    status, output = kerasft_command(
        "export", model, "--out", out, "--data", "digits", "--limit", 400, "--json",
        "--target", "micro", "--target", "ethos-u55-128", "--keep-compiled",
    )  # fmt: skip
    assert status == 0, output
    report = export.Report.from_json(output[output.index("{\n") : output.rindex("}") + 1])
    assert (report.precision, report.io, report.inputs[0].dtype) == ("int8", "int8", "int8")
    said = " ".join(output.split())
    run = export.run_on_micro(report, next(iter(load_digits(400).test))[0].numpy()[:8])
    assert f"arena of {run.arena_bytes:,} bytes" in said and "(100 %)" in said and "cycles" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "digits.cc", "digits.h", "digits.tflite", "digits_ethos-u55-128.tflite",
    ]  # fmt: skip
    header = (tmp_path / "digits.h").read_text()
    assert f"#define DIGITS_ARENA_BYTES {run.arena_bytes}\n" in header
    assert "DIGITS_LABEL_COUNT 10" in header and np.isclose(report.inputs[0].scale, 1.0, atol=0.01)


@pytest.mark.process
@pytest.mark.skipif(importlib.util.find_spec("ethosu") is None, reason="no wheel of ethos-u-vela")
def test_another_precision_may_be_asked_for_and_nothing_is_kept_by_default(model, tmp_path):
    out = tmp_path / "m.tflite"
    words = ["--precision", "float32", "--target", "ethos-u85-256"]
    status, output = kerasft_command("export", model, "--out", out, *words)
    assert status == 0 and "(0 %)" in output, output
    assert [p.name for p in tmp_path.iterdir()] == ["m.tflite"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--target", "toaster"), "--target is micro or one of ethos-u55-32"),
        (("--target", "micro", "--out", "folder", "--precision", "all"), "one precision"),
        (("--target", "micro", "--batch", "any", "--data", "digits"), "--batch 1"),
        (("--target", "micro"), "representative_data"),
        (("--keep-compiled",), "name an NPU"),
        (("--keep-compiled", "--target", "micro", "--data", "digits"), "name an NPU"),
        (("--target", "micro", "--data", "digits", "--out", "old.tflite"), "old.h exists"),
        (
            ("--target", "ethos-u55-128", "--keep-compiled", "--data", "digits", "--out", "old.tflite"),
            "exists",
        ),
    ],
)
def test_contradictions_end_before_anything_is_loaded(tmp_path, monkeypatch, words, message):
    monkeypatch.setattr(module, "load_libraries", lambda: pytest.fail("loaded"))
    for name in ("model.keras", "old.h", "old_ethos-u55-128.tflite"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    _installed(monkeypatch, True)
    out = () if "--out" in words else ("--out", "m.tflite")
    status, output = kerasft_command("export", "model.keras", *out, *words)
    assert status == 1 and message in re.sub(r"\s+", " ", output), output
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(("target", "extra"), [("micro", "micro"), ("ethos-u65-512", "ethos-u")])
def test_a_toolchain_that_is_missing_is_told_before_anything_is_loaded(tmp_path, monkeypatch, target, extra):
    monkeypatch.setattr(module, "load_libraries", lambda: pytest.fail("loaded"))
    (tmp_path / "model.keras").write_bytes(b"")
    _installed(monkeypatch, False)
    words = ["export", tmp_path / "model.keras", "--out", tmp_path / "m.tflite", "--data", "digits"]
    status, output = kerasft_command(*words, "--target", target)
    assert status == 1 and f'pip install "kerasft[{extra}]"' in " ".join(output.split())


def _installed(monkeypatch, there):
    real = importlib.util.find_spec

    def find_spec(name, *rest):
        if name in ("tflite_micro", "ethosu"):
            return object() if there else None
        return real(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
