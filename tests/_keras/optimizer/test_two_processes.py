"""What takes processes of their own: loading in a new one, and a strategy with two devices."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SUPPORT = Path(__file__).parents[2] / "support"


def run(script, *arguments):
    """The lines that a script prints."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(SUPPORT)}
    done = subprocess.run(
        [sys.executable, SUPPORT / script, *arguments], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.splitlines()


@pytest.mark.slow
def test_every_optimizer_goes_on_in_a_new_process_as_if_it_had_not_stopped(tmp_path):
    assert run("two_processes.py", "save", tmp_path) == ["done save"]
    assert run("two_processes.py", "load", tmp_path) == ["done load"]


@pytest.mark.slow
def test_two_replicas_train_like_one_device():
    lines = run("two_replicas.py")
    assert lines[-1].startswith("done"), lines
    assert len(lines) == 1, lines


def test_importing_the_hub_is_enough_to_load_a_compiled_model():
    """Its file names the classes of the optimizer, which register themselves when they are imported."""
    lines = run("load_after_hub.py", SUPPORT.parent / "data" / "earlier" / "model.keras")
    assert lines == ["kerasft>ScaledLrMultipliers kerasft>LrMultipliers", "True True True"]
