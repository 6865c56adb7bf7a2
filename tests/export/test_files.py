"""Files appear whole or not at all."""

import errno

import pytest
from kerasft.export.files import replacing


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
