"""Files are whole or not there, and a lock holds between processes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kerasft.files import lock, newest_first, write_text


def test_a_text_is_written_into_folders_that_are_made(tmp_path):
    target = tmp_path / "a" / "b.txt"
    write_text(target, "one")
    write_text(target, "zwölf")
    assert target.read_bytes() == "zwölf".encode()
    assert [path.name for path in target.parent.iterdir()] == ["b.txt"]


def test_what_fails_leaves_the_old_file_and_no_part_of_the_new_one(tmp_path):
    (tmp_path / "s.json").mkdir()
    (tmp_path / "s.json" / "inside").write_text("mine")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "s.json", "\ud800")
    assert [path.name for path in tmp_path.iterdir()] == ["s.json"]
    assert (tmp_path / "s.json" / "inside").read_text() == "mine"


def test_a_lock_holds_against_another_process_and_ends_with_it(tmp_path):
    code = (
        "import sys, time, pathlib\nfrom kerasft.files import lock\n"
        f"with lock(pathlib.Path({str(tmp_path)!r})):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RuntimeError, match="Another process is working in"), lock(tmp_path, wait=False):
            pass
        other.kill()
    with lock(tmp_path, wait=False):
        pass
    with lock(tmp_path):  # and again
        pass


def test_a_folder_that_others_clear_is_listed_without_what_has_gone(tmp_path, monkeypatch):
    """Each of these paths goes at another moment: before it is looked at, and while the folder is read."""
    for i, name in enumerate("abc"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
        os.utime(tmp_path / name / "file", (100 + i, 100 + i))
    stat, glob = Path.stat, Path.glob

    def goes_before(path, **options):
        if path.parent.name == "b":
            shutil.rmtree(path.parent, ignore_errors=True)
        return stat(path, **options)

    def goes_while(path, pattern):
        yield from list(glob(path, pattern))[:1]
        monkeypatch.setattr(Path, "glob", glob)
        raise FileNotFoundError

    monkeypatch.setattr(Path, "glob", goes_while)
    monkeypatch.setattr(Path, "stat", goes_before)
    assert newest_first(tmp_path, "*/file") == [tmp_path / "c" / "file", tmp_path / "a" / "file"]
    assert newest_first(tmp_path / "none", "*") == []
