"""A job's folder: whole or not there, resumable, and in one process's hands."""

import pytest

from kerasft.commands.workspace import (
    check_free,
    discard_unfinished,
    unfinished,
    workspace,
)


def test_results_take_their_name_when_all_is_done(tmp_path):
    with workspace(tmp_path / "deep" / "out", {}) as work:
        (work.results / "a.txt").write_text("new")
        (work.state / "backup").touch()
        assert not (tmp_path / "deep" / "out").exists()
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out"]
    assert (tmp_path / "deep" / "out" / "a.txt").read_text() == "new"


def test_an_error_keeps_what_can_be_resumed_and_nothing_else(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyError), workspace(out, {}) as work:
        (work.state / "notes.txt").touch()
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyError), workspace(out, {"rate": 1}) as work:
        (work.state / "backup").mkdir()
        (work.state / "backup" / "epochs").write_text("2")
        (work.results / "half.txt").touch()
        raise KeyError
    with workspace(out, {"rate": 1}, resume=True) as work:
        assert work.resumed and (work.state / "backup" / "epochs").read_text() == "2"
        assert list(work.results.iterdir()) == []
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def begin(out, **identity):
    with pytest.raises(KeyError), workspace(out, identity) as work:
        (work.state / "backup").mkdir()
        (work.state / "backup" / "epochs").touch()
        raise KeyError


def test_an_unfinished_job_is_not_thrown_away_in_silence(tmp_path):
    out = tmp_path / "out"
    begin(out, rate=1)
    with pytest.raises(FileExistsError, match="--resume goes on"):
        check_free(out, overwrite=False)
    with pytest.raises(ValueError, match="begun with another rate: it was 1 and is 2"):
        with workspace(out, {"rate": 2}, resume=True):
            pass
    assert (unfinished(out) / "state" / "backup").exists()
    with workspace(out, {"rate": 2}, overwrite=True) as work:
        assert list(work.state.iterdir()) == []
    begin(tmp_path / "other")
    discard_unfinished(tmp_path / "other")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    with pytest.raises(FileNotFoundError, match="no unfinished run"):
        check_free(tmp_path / "other", overwrite=False, resume=True)


def test_a_second_process_is_kept_out(tmp_path):
    with workspace(tmp_path / "out", {}) as work:
        (work.state / "backup").mkdir()
        (work.state / "backup" / "epochs").touch()
        with pytest.raises(RuntimeError, match="Another process"):
            with workspace(tmp_path / "out", {}, resume=True):
                pass
        with pytest.raises(RuntimeError, match="Another process"):
            discard_unfinished(tmp_path / "out")
        assert (work.state / "backup" / "epochs").exists()


def test_a_folder_in_use_is_refused_before_any_work(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="--overwrite"):
        check_free(tmp_path / "out", overwrite=False)
    with pytest.raises(FileExistsError, match="is a file"):
        check_free(tmp_path / "out" / "thesis.txt", overwrite=True)
    check_free(tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"
    with workspace(tmp_path / "out", {}, overwrite=True) as work:
        (work.results / "new.txt").touch()
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["new.txt"]


def test_resuming_what_has_ended_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no unfinished run"):
        check_free(tmp_path / "out", False, resume=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.keras").write_text("")
    with pytest.raises(FileExistsError, match="has ended: there is nothing to resume"):
        check_free(tmp_path / "out", False, resume=True)
    with pytest.raises(FileExistsError, match="is in use"):
        check_free(tmp_path / "out", False)
