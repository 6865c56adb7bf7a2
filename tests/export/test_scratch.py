"""Temporary folders go after the block, after a kill with the next call, never while their owner lives."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from kerasft.export.scratch import scratch, take_scratch

SCRIPT = Path(__file__).parents[1] / "support" / "killed_scratch.py"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A temporary folder of the system's for the test alone."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield tmp_path
    tempfile.tempdir = None


def left(place):
    return [p for p in place.rglob("*") if p.is_file() and "lock" not in p.name]


def test_a_folder_is_the_users_own_and_goes_with_the_block(place):
    with scratch() as folder:
        (folder / "model").write_text("x")
        assert folder.is_relative_to(place)
        (home,) = place.iterdir()
        assert home.stat().st_mode & 0o777 == 0o700
        with scratch() as other:
            assert other != folder and (folder / "model").exists()
    assert not folder.exists() and left(place) == []
    with pytest.raises(ZeroDivisionError), scratch() as folder:
        (folder / "model").write_text("x")
        raise ZeroDivisionError
    assert left(place) == []


@pytest.mark.process
def test_what_a_killed_process_left_goes_with_the_next_call_and_a_living_ones_stays(place):
    def begin():
        process = subprocess.Popen([sys.executable, str(SCRIPT)], stdout=subprocess.PIPE, text=True)
        return process, Path(process.stdout.readline().strip())

    (living, its), (killed, lost) = begin(), begin()
    try:
        killed.kill()
        killed.wait()
        assert (lost / "calibration.npz").exists() and (its / "calibration.npz").exists()
        with scratch():
            assert not lost.exists() and (its / "calibration.npz").exists()
    finally:
        living.kill()
        living.wait()
    folder, give_back = take_scratch()
    assert not its.exists()
    give_back()
    assert left(place) == [] and not folder.exists()
    for process in (living, killed):
        process.stdout.close()


def test_a_full_disk_says_what_was_written_and_what_to_do(place):
    with pytest.raises(OSError, match=r"disk is full.*more than the 100 bytes.*TMPDIR") as caught:
        with scratch() as folder:
            (folder / "a").write_bytes(bytes(100))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "b"))
    assert caught.value.errno == errno.ENOSPC
    assert left(place) == []
    with pytest.raises(OSError, match="elsewhere"), scratch():
        raise OSError(errno.ENOSPC, "elsewhere")


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="users have no numbers here")
def test_a_folder_of_somebody_elses_is_not_used(place, monkeypatch):
    with scratch():
        pass
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with scratch() as folder:
        assert folder.parent == place
    assert not folder.exists()
