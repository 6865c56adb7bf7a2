"""What is written where there is no room leaves nothing behind, and the older file as it was."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "support" / "small_limit.py"


@pytest.mark.process
@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit of a file's size")
def test_every_writer_leaves_the_old_file_alone_and_says_what_to_do(tmp_path):
    folder, temporary = tmp_path / "out", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)], capture_output=True, text=True, check=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )  # fmt: skip
    said = json.loads(done.stdout.splitlines()[-1])
    assert len(said) == 7
    for name, (kind, message) in said.items():
        assert kind == "OSError", (name, kind, message)
        assert "could not be written. It needs more than the" in message, (name, message)
        assert "bytes are free besides" in message and "free some space" in message, name
    assert sorted(p.name for p in folder.iterdir() if p.name != "backup") == [
        "old.json", "old.tflite", "old.zip", "whole.tflite",
    ]  # fmt: skip
    assert {p.read_text() for p in folder.glob("old.*")} == {"old"}
    assert [p for p in (folder / "backup").rglob("*") if p.is_file() and p.stat().st_size > 1000] == []
    assert [p for p in temporary.rglob("*") if p.is_file() and "lock" not in p.name] == []
