"""What takes processes of their own: loading in another one, and a strategy with two devices."""

import forked
import pytest


@pytest.mark.slow
def test_every_optimizer_goes_on_in_a_new_process_as_if_it_had_not_stopped(tmp_path):
    assert forked.run("two_processes.py", "save", tmp_path, folder=tmp_path) == ["done save"]
    assert forked.run("two_processes.py", "load", tmp_path, folder=tmp_path) == ["done load"]


@pytest.mark.slow
def test_two_replicas_train_like_one_device(tmp_path):
    lines = forked.run("two_replicas.py", folder=tmp_path)
    assert lines[-1].startswith("done"), lines
    assert len(lines) == 1, lines
