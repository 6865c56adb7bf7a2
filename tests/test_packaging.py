"""The wheel holds what an installation needs, and nothing else."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_wheel_works_without_the_checkout(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert {
        "kerasft/py.typed",
        "kerasft/export/__init__.py",
        "kerasft/export/clients/web/index.html",
        "kerasft/export/clients/web/package-lock.json",
        "kerasft/examples/efficientnet_lite0.py",
    } <= set(names)
    assert not [n for n in names if n.startswith(("tests/", "benchmarks/", "export/", "examples/"))]
    code = "import kerasft.export, kerasft.examples, kerasft.hub; print(kerasft.export.__file__)"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip().startswith(str(tmp_path))
