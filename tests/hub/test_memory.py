"""Memory and folder_fingerprint: what is kept and for how long, and when a SavedModel counts as another."""

import concurrent.futures
import os
import shutil

import numpy as np
import pytest

from kerasft.hub.memory import Memory, folder_fingerprint


@pytest.fixture
def ask():
    """A function of a memory, a key and a size that tells whether the value had to be made."""

    def call(memory, key, nbytes=8):
        made = []
        value = memory.recall(key, lambda: made.append(key) or np.zeros(nbytes, "int8"))
        assert value.nbytes == nbytes
        return bool(made)

    return call


def test_makes_once_for_each_key(ask):
    memory = Memory(entries=2, nbytes=100)
    assert [ask(memory, k) for k in ("a", "a", "b", "a", "b")] == [True, False, True, False, False]
    value = memory.recall("a", lambda: None)
    assert value is memory.recall("a", lambda: None)


def test_the_one_not_used_for_longest_goes_first(ask):
    memory = Memory(entries=2, nbytes=100)
    assert [ask(memory, k) for k in ("a", "b", "a", "c")] == [True, True, False, True]  # b goes
    assert [ask(memory, k) for k in ("a", "c", "b")] == [False, False, True]  # a goes
    assert ask(memory, "a")


def test_bytes_are_bounded(ask):
    memory = Memory(entries=9, nbytes=100)
    assert ask(memory, "a", 60) and ask(memory, "b", 40)
    assert not ask(memory, "a", 60) and not ask(memory, "b", 40)  # 60 + 40 = 100
    assert ask(memory, "c", 1)
    assert not ask(memory, "b", 40) and not ask(memory, "c", 1) and ask(memory, "a", 60)


def test_what_is_too_large_is_not_kept_and_displaces_nothing(ask):
    memory = Memory(entries=9, nbytes=100)
    assert ask(memory, "a", 60)
    assert ask(memory, "b", 101) and ask(memory, "b", 101)
    assert not ask(memory, "a", 60)


def test_without_a_key_nothing_is_kept(ask):
    memory = Memory(entries=2, nbytes=100)
    assert ask(memory, None) and ask(memory, None)


def test_a_failure_is_not_kept(ask):
    memory = Memory(entries=2, nbytes=100)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            memory.recall("a", lambda: 1 / 0)
    assert ask(memory, "a") and not ask(memory, "a")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "model"
    (path / "variables").mkdir(parents=True)
    (path / "saved_model.pb").write_bytes(b"graph")
    (path / "variables" / "variables.index").write_bytes(b"index")
    return path


def test_fingerprint_stays(folder, tmp_path, monkeypatch):
    before = folder_fingerprint(folder)
    (folder / "notes.txt").touch()
    (folder / "saved_model.pb").read_bytes()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(folder)
    assert before == folder_fingerprint(folder) == folder_fingerprint("model") == folder_fingerprint("link")


@pytest.mark.parametrize("file", ["saved_model.pb", "variables/variables.index"])
def test_fingerprint_sees_files_of_the_same_size_and_time(file, folder):
    before, path = folder_fingerprint(folder), folder / file
    state = path.stat()
    path.write_bytes(b"other"[: state.st_size])
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert path.stat().st_mtime_ns == state.st_mtime_ns and path.stat().st_size == state.st_size
    assert folder_fingerprint(folder) != before


def test_fingerprint_sees_files_come_and_go_and_other_folders(folder, tmp_path):
    seen = {folder_fingerprint(folder)}
    (folder / "variables" / "variables.data-00000-of-00001").touch()
    seen.add(folder_fingerprint(folder))
    (folder / "variables" / "variables.index").unlink()
    seen.add(folder_fingerprint(folder))
    shutil.copytree(folder, tmp_path / "copy")
    seen.add(folder_fingerprint(tmp_path / "copy"))
    assert len(seen) == 4 and None not in seen


def test_fingerprint_of_what_is_not_there(tmp_path):
    assert folder_fingerprint(tmp_path) is None
    assert folder_fingerprint("gs://bucket/model") is None


def test_counts_what_it_made_and_forgets(ask):
    memory = Memory(entries=2, nbytes=100)
    assert [ask(memory, k) for k in ("a", "a", None, "b")] == [True, False, True, True]
    assert memory.made == 3
    memory.clear()
    assert ask(memory, "a") and memory.made == 4


def test_threads_share_it():
    memory = Memory(entries=3, nbytes=100)

    def recall_many(start):
        return [memory.recall((start + i) % 5, lambda: np.zeros(8, "int8")).nbytes for i in range(200)]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert [set(sizes) for sizes in pool.map(recall_many, range(4))] == [{8}] * 4
    assert memory.made >= 5
