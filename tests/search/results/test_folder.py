import json
import os

import keras_tuner
import pytest

from kerasft.search.results.folder import CHECKPOINT, STATE, SearchFolder
from kerasft.search.results.record import TrialRecord, read_trials

# keras-tuner's oracles call names of `threading` that Python has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:.*(currentThread|getName):DeprecationWarning")


def end(project, trial, score=None, status="completed", resumed_from=None, **values):
    """A trial that has ended, with both its files; `bracket` and `round` are Hyperband's."""
    folder = SearchFolder(project).trial(trial)
    values = {f"tuner/{name}": value for name, value in values.items()}
    record = TrialRecord(trial, values, status=status, score=score, resumed_from=resumed_from)
    record.write(folder)
    (folder / CHECKPOINT).touch()
    (folder / STATE).touch()
    return record


def with_file(project, name):
    return sorted(path.parent.name[6:] for path in project.glob(f"trial_*/{name}"))


# --- which search it is


def test_the_same_search_is_accepted_as_often_as_it_comes(tmp_path):
    now = {"seed": 0, "search space": {"learning_rate": ("Float", (1e-4, 1e-2))}}
    for _ in range(2):
        SearchFolder(tmp_path).check_identity(now)  # a tuple comes back as a list, which is the same
    assert json.loads((tmp_path / "kerasft" / "search.json").read_text())["seed"] == 0


def test_what_becomes_known_later_is_noted_and_held_to(tmp_path):
    folder = SearchFolder(tmp_path)
    folder.check_identity({"seed": 0})
    folder.check_identity({"content of the data set": "a"})
    with pytest.raises(ValueError, match='another content of the data set: it was "a" and is "b"'):
        folder.check_identity({"content of the data set": "b"})
    with pytest.raises(ValueError, match="another seed: it was 0 and is 1"):
        folder.check_identity({"seed": 1})
    folder.check_identity({"seed": 0, "content of the data set": "a"})  # what differed was not noted


def test_names_of_stages_in_a_file_of_an_earlier_version_tell_nothing(tmp_path):
    folder = SearchFolder(tmp_path)
    folder.check_identity({"model": {"stages": ["dense_3", "top"], "parameters": 5}})
    folder.check_identity({"model": {"parameters": 5}, "division into stages": [3, 2]})
    with pytest.raises(ValueError, match="another model: parameters was 5 and is 6"):
        folder.check_identity({"model": {"parameters": 6}})
    with pytest.raises(ValueError, match="another division into stages: it was"):
        folder.check_identity({"division into stages": [2, 3]})


def test_what_differs_in_the_space_is_named_and_nothing_else(tmp_path):
    folder = SearchFolder(tmp_path)
    folder.check_identity({"search_space": {"same": 1, "dropout": 0.1, "old": 2}})
    with pytest.raises(ValueError) as raised:
        folder.check_identity({"search_space": {"same": 1, "dropout": 0.2, "new": 3}})
    message = str(raised.value)
    assert (
        "another search space: dropout was 0.1 and is 0.2; old is gone (it was 2); new is new (3). "
        in message
    )
    assert "overwrite=True, or another project_name" in message and "same" not in message


def test_long_values_are_cut(tmp_path):
    SearchFolder(tmp_path).check_identity({"model": "a" * 1000})
    with pytest.raises(ValueError, match=r"another model: it was \"a{116}\.\.\. and is \"b\"\."):
        SearchFolder(tmp_path).check_identity({"model": "b"})


@pytest.mark.parametrize("text", ["{", "[]", "", "[" * 10**5])
def test_a_damaged_note_of_the_search_is_refused_with_a_way_out(tmp_path, text):
    folder = SearchFolder(tmp_path)
    folder.shared.mkdir()
    (folder.shared / "search.json").write_text(text)
    with pytest.raises(keras_tuner.errors.FatalValueError, match=r"search.json is damaged: .*Delete it if"):
        folder.check_identity({"seed": 0})
    assert (folder.shared / "search.json").read_text() == text


def test_files_that_others_delete_end_nothing(tmp_path, monkeypatch):
    current = end(tmp_path, "0", 0.5)
    end(tmp_path, "1", 0.1)
    (tmp_path / "oracle.json").write_text("{}")
    listed = os.listdir
    # what another process deletes between the listing and the reading
    gone = {str(tmp_path): ["trial_7", "gone.json"]}
    monkeypatch.setattr(os, "listdir", lambda path: [*listed(path), *gone.get(str(path), [])])
    folder = SearchFolder(tmp_path)
    assert [r.trial for r in read_trials(tmp_path)] == ["0", "1"]
    folder.sweep(1, "max", current, parallel=True)
    folder.back_up()
    assert with_file(tmp_path, CHECKPOINT) == ["0"]
    assert [p.name for p in (folder.shared / "backup").iterdir()] == ["oracle.json"]
    assert read_trials(tmp_path / "nowhere") == [] and SearchFolder(tmp_path / "nowhere").tuner_files() == []


# --- which files stay


@pytest.mark.parametrize(
    ("direction", "keep", "stay"),
    [
        ("max", 1, ["1"]),
        ("max", 2, ["0", "1", "3"]),  # two have 0.5, and keras-tuner may ask for either
        ("min", 1, ["2"]),
        ("min", 3, ["0", "2", "3"]),
        ("max", 9, ["0", "1", "2", "3"]),  # the failed one has nothing to keep
    ],
)
def test_the_best_checkpoints_stay(tmp_path, direction, keep, stay):
    for trial, score in enumerate((0.5, 0.9, 0.1, 0.5)):
        current = end(tmp_path, str(trial), score)
    end(tmp_path, "4", status="failed")
    SearchFolder(tmp_path).sweep(keep, direction, current, parallel=False)
    assert with_file(tmp_path, CHECKPOINT) == stay
    assert with_file(tmp_path, STATE) == []  # no later trial goes on from any of these
    assert len(with_file(tmp_path, "kerasft.json")) == 5


@pytest.mark.parametrize("parallel", [False, True])
def test_states_stay_from_which_hyperband_may_go_on(tmp_path, parallel):
    end(tmp_path, "0", 0.1, bracket=2, round=0)  # the bracket still runs
    end(tmp_path, "1", 0.2, bracket=2, round=0)  # 4 went on from it
    end(tmp_path, "2", 0.3, bracket=3, round=0)  # of a bracket that is over, unless another worker runs it
    end(tmp_path, "3", 0.4, bracket=2, round=2)  # the last round
    current = end(tmp_path, "4", 0.5, resumed_from="1", bracket=2, round=1)
    SearchFolder(tmp_path).sweep(1, "max", current, parallel)
    assert with_file(tmp_path, STATE) == (["0", "2", "4"] if parallel else ["0", "4"])
    assert with_file(tmp_path, CHECKPOINT) == ["4"]


def test_files_of_a_trial_that_still_runs_are_let_alone(tmp_path):
    current = end(tmp_path, "0", 0.5)
    running = tmp_path / "trial_1"
    running.mkdir()
    (running / CHECKPOINT).touch()
    (running / STATE).touch()
    SearchFolder(tmp_path).sweep(1, "max", current, parallel=True)
    assert with_file(tmp_path, CHECKPOINT) == ["0", "1"] and with_file(tmp_path, STATE) == ["1"]


# --- copies of keras-tuner's own files


def test_a_copy_follows_the_file(tmp_path):
    (tmp_path / "oracle.json").write_text('{"first": 1}')
    SearchFolder(tmp_path).back_up()
    (tmp_path / "oracle.json").write_text('{"later": 1}')
    copy = tmp_path / "kerasft" / "backup" / "oracle.json"
    SearchFolder(tmp_path).back_up()
    assert copy.read_text() == '{"later": 1}'
    os.utime(copy, (0, 0))
    SearchFolder(tmp_path).back_up()
    assert copy.stat().st_mtime == 0  # what has not changed is not written again
