"""What takes processes of their own: loading in another one, and a strategy with two devices."""

import subprocess
import sys
from pathlib import Path

import forked
import pytest

SUPPORT = Path(__file__).parents[2] / "support"


@pytest.mark.slow
def test_every_optimizer_goes_on_in_a_new_process_as_if_it_had_not_stopped(tmp_path):
    assert forked.run("two_processes.py", "save", tmp_path, folder=tmp_path) == ["done save"]
    assert forked.run("two_processes.py", "load", tmp_path, folder=tmp_path) == ["done load"]


@pytest.mark.slow
def test_two_replicas_train_like_one_device(tmp_path):
    lines = forked.run("two_replicas.py", folder=tmp_path)
    assert lines[-1].startswith("done"), lines
    assert len(lines) == 1, lines


def test_importing_kerasft_is_enough_to_load_a_compiled_model():
    """Its file names stages of the hub and classes of the optimizer, which Keras is told of before they load.

    A new Python: one that was forked might have imported them already.
    """
    script = SUPPORT / "load_after_import.py"
    model = SUPPORT.parent / "data" / "earlier" / "model.keras"
    done = subprocess.run([sys.executable, script, model], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    lines = done.stdout.splitlines()
    assert lines == ["kerasft>ScaledLrMultipliers kerasft>LrMultipliers", "True True True"]
