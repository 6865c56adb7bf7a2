"""Files appear whole or not at all."""

import errno
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import killed_export
import pytest
from kerasft.export import Ladder, Report
from kerasft.export.files import check_target, parse_json, replacing, write_text


def test_a_new_file_takes_its_name_at_the_end(tmp_path):
    target = tmp_path / "a.bin"
    with replacing(target, overwrite=False) as partial:
        partial.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_an_error_leaves_the_old_one_and_nothing_else(tmp_path, kind):
    target = tmp_path / "a"
    if kind == "file":
        target.write_text("old")
    else:
        target.mkdir()
        (target / "x").write_text("old")
    with pytest.raises(RuntimeError), replacing(target, overwrite=True) as partial:
        partial.mkdir() if kind == "folder" else partial.write_text("half")
        raise RuntimeError
    assert (target if kind == "file" else target / "x").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_folder_is_replaced(tmp_path):
    target = tmp_path / "a"
    target.mkdir()
    (target / "old").write_text("old")
    with replacing(target, overwrite=True) as partial:
        partial.mkdir()
        (partial / "new").write_text("new")
    assert [p.name for p in target.iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_what_exists_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "a").write_text("mine")
    with pytest.raises(FileExistsError, match="overwrite=True"), replacing(tmp_path / "a", overwrite=False):
        pytest.fail("the block must not run")
    with (
        pytest.raises(FileNotFoundError, match="no folder"),
        replacing(tmp_path / "no" / "a", overwrite=False),
    ):
        pytest.fail("the block must not run")
    assert (tmp_path / "a").read_text() == "mine"


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    (tmp_path / "a").write_text("old")
    with (
        pytest.raises(OSError, match="disk is full") as caught,
        replacing(tmp_path / "a", overwrite=True) as partial,
    ):
        partial.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.errno == errno.ENOSPC
    assert (tmp_path / "a").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


SCRIPT = Path(__file__).parents[1] / "support" / "killed_export.py"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_kill_leaves_a_whole_one_and_the_next_call_clears_up(tmp_path, kind):
    target, moments = tmp_path / "a", random.Random(0)
    leftovers = set()
    for kills in range(60):  # more than twelve only where none came in the middle of a version
        if kills >= 12 and ".partial" in leftovers:
            break
        child = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(target), kind], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout.readline() == "begun\n"
        time.sleep(moments.uniform(0, 0.01))
        until = time.monotonic() + 1
        while moments.random() < 0.9 and not list(tmp_path.glob(".*.partial")) and time.monotonic() < until:
            pass  # most of the kills come in the middle of a version
        child.kill()
        child.communicate()
        leftovers |= {path.suffix for path in tmp_path.iterdir()}
        if kind == "file":
            assert version(target)
        check_target(target, overwrite=True)
        if kind == "folder":
            assert version(target / "a") == version(target / "b")
        assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert ".partial" in leftovers  # a kill did come in between


def version(path):
    """The number of which a file is made, if it is whole."""
    content = path.read_bytes()
    assert len(content) == killed_export.SIZE
    (number,) = {content[i : i + 10] for i in range(0, len(content), 10)}
    return int(number)


@pytest.fixture(scope="module")
def dead():
    """The number of a process that no longer runs."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_leftovers_of_dead_processes_alone_are_cleared(tmp_path, dead):
    kept = [f".a.{os.getppid()}.partial", f".a.{os.getppid()}.old", f".b.{dead}.partial", ".a.mine.partial"]
    for name in [*kept, f".a.{dead}.old", f".a.{os.getpid()}.old"]:
        (tmp_path / name).write_text("")
    (tmp_path / f".a.{dead}.partial").mkdir()
    (tmp_path / f".a.{dead}.partial" / "x").write_text("")
    (tmp_path / "a").write_text("whole")
    with replacing(tmp_path / "a", overwrite=True) as partial:
        partial.write_text("new")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*kept, "a"])
    assert (tmp_path / "a").read_text() == "new"


def test_a_folder_that_lost_its_name_gets_it_back(tmp_path, dead):
    old = tmp_path / f".a.{dead}.old"
    old.mkdir()
    (old / "x").write_text("old")
    (tmp_path / f".a.{dead}.partial").mkdir()
    with pytest.raises(FileExistsError), replacing(tmp_path / "a", overwrite=False):
        pytest.fail("the block must not run")
    assert (tmp_path / "a" / "x").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_file_in_use_is_said_and_the_old_one_stays(tmp_path, kind, monkeypatch):
    target = tmp_path / "a"
    target.write_text("old") if kind == "file" else target.mkdir()
    rename = Path.replace

    def denied(self, other):
        if self.suffix == ".partial":
            raise PermissionError(errno.EACCES, "The process cannot access the file", str(self))
        return rename(self, other)

    monkeypatch.setattr(Path, "replace", denied)
    with (
        pytest.raises(PermissionError, match="close what has it open") as caught,
        replacing(target, overwrite=True) as partial,
    ):
        partial.mkdir() if kind == "folder" else partial.write_text("new")
    assert caught.value.errno == errno.EACCES and caught.value.filename == str(target)
    assert target.is_dir() if kind == "folder" else target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_an_error_about_another_file_passes_as_it_is(tmp_path):
    with pytest.raises(PermissionError, match="elsewhere"), replacing(tmp_path / "a", overwrite=True):
        raise PermissionError(errno.EACCES, "not yours", "/elsewhere")


def test_a_bare_name_is_a_file_of_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with replacing("a", overwrite=False) as partial:
        partial.write_text("new")
    assert (tmp_path / "a").read_text() == "new"


def test_the_temporary_name_tells_whose_it_is_and_ends_as_the_file_does(tmp_path):
    with replacing(tmp_path / "a.weights.h5", overwrite=False) as partial:
        partial.write_text("new")
        begin, end = f".a.weights.h5.{socket.gethostname()}-{os.getpid()}-", ".partial.weights.h5"
        assert partial.name.startswith(begin) and partial.name.endswith(end)
        assert partial.name[len(begin) : -len(end)].isdecimal()
    assert [p.name for p in tmp_path.iterdir()] == ["a.weights.h5"]


def test_two_writers_in_one_process_leave_each_other_alone(tmp_path):
    with replacing(tmp_path / "a.txt", overwrite=True) as first:
        first.write_text("first")
        with replacing(tmp_path / "a.txt", overwrite=True) as second:
            second.write_text("second")
            assert first != second
        assert first.read_text() == "first" and (tmp_path / "a.txt").read_text() == "second"
    assert (tmp_path / "a.txt").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_leftovers_on_this_host_are_cleared_and_those_of_others_stay(tmp_path, dead):
    host = socket.gethostname()
    kept = [
        f".a.b.other-{dead}-0.partial.b",
        f".a.b.{host}-{os.getppid()}-3.partial.b",
        f".a.b.{host}-{dead}-1.partial",
    ]
    left = [
        f".a.b.{host}-{dead}-7.partial.b",
        f".a.b.{dead}.partial",
        f".a.b.{host}-{os.getpid()}-9999.old.b",
    ]
    for name in (*kept, *left):
        (tmp_path / name).write_text("")
    write_text(tmp_path / "a.b", "grün")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*kept, "a.b"])
    assert (tmp_path / "a.b").read_bytes() == "grün".encode()


def test_a_folder_of_this_version_that_lost_its_name_gets_it_back(tmp_path, dead):
    (tmp_path / f".a.v1.{socket.gethostname()}-{dead}-0.old.v1").mkdir()
    check_target(tmp_path / "a.v1", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["a.v1"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_durable_reaches_the_disk_before_it_gets_its_name(tmp_path, monkeypatch, kind):
    synced, target = [], tmp_path / "a"

    def fsync(file):
        number = file if isinstance(file, int) else file.fileno()
        path = Path(os.readlink(f"/proc/self/fd/{number}"))
        name = "partial" if ".partial" in path.name else path.name
        synced.append((name, target.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    with replacing(target, overwrite=True, durable=True) as partial:
        if kind == "folder":
            partial.mkdir()
            (partial / "x").write_text("new")
        else:
            partial.write_text("new")
    inside = [("x", False)] if kind == "folder" else []
    assert synced == [*inside, ("partial", False), (tmp_path.name, True)]
    synced.clear()
    write_text(tmp_path / "b", "new")
    assert synced == []


@pytest.mark.parametrize(("there", "error"), [("folder", IsADirectoryError), ("file", NotADirectoryError)])
def test_a_file_never_takes_the_place_of_a_folder_nor_a_folder_that_of_a_file(tmp_path, there, error):
    target = tmp_path / "a"
    if there == "folder":
        target.mkdir()
        (target / "mine").write_text("mine")
    else:
        target.write_text("mine")
    with pytest.raises(error, match=f"It is a {there}"), replacing(target, overwrite=True) as partial:
        partial.write_text("new") if there == "folder" else partial.mkdir()
    assert (target / "mine" if there == "folder" else target).read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_json_that_hides_something_is_refused():
    assert parse_json('{"a": [{"b": 1}, {"b": 2}]}', "It") == {"a": [{"b": 1}, {"b": 2}]}
    for text, message in [
        ('{"a": [{"b": 1, "b": 1}]}', "It has the key 'b' twice in one object. Leave one."),
        ("[" * 100_000, "It is nested too deeply to be read."),
        (
            "{",
            "It is not valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 "
            "(char 1)",
        ),
    ]:
        with pytest.raises(ValueError) as caught:
            parse_json(text, "It")
        assert str(caught.value) == message


@pytest.mark.parametrize(
    "text", ["[]", "null", "{}", '{"inputs": 1}', '{"reports": []}', '{"reports": {"a": {}}}']
)
@pytest.mark.parametrize("kind", [Report, Ladder])
def test_json_of_another_form_is_refused_by_name(kind, text):
    name = "The report" if kind is Report else "The (ladder|report)"
    with pytest.raises(ValueError, match=f"{name} lacks something, or has it in another form"):
        kind.from_json(text)
