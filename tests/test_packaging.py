"""The wheel holds what an installation needs, and nothing else."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def expected_files():
    """The files of the source that git knows, under the names that they are imported by."""
    places = {"kerasft": "kerasft", "export": "kerasft/export", "examples": "kerasft/examples"}
    listed = subprocess.run(
        ["git", "ls-files", *places], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for line in listed.stdout.splitlines():
        folder, _, rest = line.partition("/")
        if not rest.endswith(".md"):
            yield f"{places[folder]}/{rest}"


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
    packages = [n for n in names if not n.split("/")[0].endswith(".dist-info")]
    assert sorted(packages) == sorted(expected_files())
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
