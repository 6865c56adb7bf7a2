"""The package loads TensorFlow only when it is used."""

import subprocess
import sys

import pytest

from kerasft import export


def test_import_is_light_and_names_resolve():
    code = "import sys, kerasft.export; print('tensorflow' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
    )
    for name in export.__all__:
        assert getattr(export, name) is not None and name in dir(export)
    with pytest.raises(AttributeError, match="nose"):
        _ = export.nose
