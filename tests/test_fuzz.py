"""Damaged files of every kind are read or refused by a documented error; no mutant ends the process.

`tests/support/fuzz.py` makes them, the same for each seed, and runs by hand for longer.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "support" / "fuzz.py"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "count", "read"),
    [("json", 1500, 200), ("tflite", 500, 10), ("pack", 300, 20), ("keras", 400, 40)],
)
def test_mutants(kind, count, read, tmp_path):
    command = [
        sys.executable,
        str(SCRIPT),
        "--kinds",
        kind,
        "--count",
        str(count),
        "--last",
        str(tmp_path / "last"),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parent), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    last = (tmp_path / "last").read_text() if (tmp_path / "last").exists() else "none"
    assert done.returncode == 0, f"at {last}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["read"] + found["refused"] == count
    assert found["read"] >= read and found["refused"] >= read  # both kinds of mutant were tried
