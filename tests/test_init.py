"""The package itself: lazy, fast, and complete."""

import subprocess
import sys

import pytest

import kerasft


def run(code, cwd):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_import_loads_no_tensorflow(tmp_path):
    code = "import sys, kerasft; print([m for m in ('tensorflow', 'keras', 'numpy') if m in sys.modules])"
    assert run(code, tmp_path) == "[]"


def test_export_is_found_from_anywhere(tmp_path):
    assert run(
        "import kerasft.export, kerasft.examples, kerasft; print(kerasft.export.__name__)", tmp_path
    ) == ("kerasft.export")


@pytest.mark.parametrize("name", kerasft.__all__)
def test_every_public_name_resolves(name):
    assert getattr(kerasft, name) is not None
    assert name in dir(kerasft)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nose'"):
        _ = kerasft.nose


def test_another_backend_is_refused(tmp_path):
    code = (
        "import keras, kerasft\n"
        "keras.backend.backend = lambda: 'jax'\n"
        "try:\n    kerasft.freeze\nexcept ImportError as error:\n    print(error)"
    )
    assert "KERAS_BACKEND" in run(code, tmp_path)
