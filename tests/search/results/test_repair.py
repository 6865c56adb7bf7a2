"""Files of keras-tuner that a kill has cut short."""

import keras_tuner
import pytest

from kerasft.search.results.folder import SearchFolder
from kerasft.search.results.record import TrialRecord
from kerasft.search.results.repair import repair_search

# keras-tuner's oracles call names of `threading` that Python has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:.*(currentThread|getName):DeprecationWarning")


@pytest.fixture
def searched(tmp_path):
    """A search with one trial that has ended, as keras-tuner writes it, and copies of its files."""
    oracle = oracle_in(tmp_path)
    oracle.create_trial("tuner0")
    TrialRecord("0", {}, score=0.5).write(tmp_path / "trial_0")
    SearchFolder(tmp_path).back_up()
    return tmp_path


def oracle_in(project):
    oracle = keras_tuner.oracles.RandomSearchOracle("val_loss", max_trials=5, seed=0)
    oracle.hyperparameters.Float("rate", 0.0, 1.0)
    oracle.verbose = 0
    oracle._set_project_dir(project.parent, project.name)
    return oracle


def cut(path):
    path.write_text(path.read_text()[:-20])


@pytest.mark.parametrize("name", ["oracle.json", "trial_0/trial.json"])
@pytest.mark.parametrize("content", [b"", b'{"a": [1,', b"\xff\xfe\x00"])
def test_a_damaged_file_is_put_back_as_it_was(searched, name, content):
    whole = (searched / name).read_bytes()
    (searched / name).write_bytes(content)
    SearchFolder(searched).back_up()  # does not take over what is damaged
    assert repair_search(str(searched)) == [searched / name]
    assert (searched / name).read_bytes() == whole
    assert repair_search(searched) == []
    oracle_in(searched).reload()


def test_a_trial_that_was_cut_short_as_it_was_made_is_made_again(searched):
    # keras-tuner writes trial.json first, then oracle.json
    said = (searched / "oracle.json").read_text()
    oracle = oracle_in(searched)
    oracle.reload()
    oracle.create_trial("tuner0")  # 0 once more, which was running
    assert oracle.create_trial("tuner1").trial_id == "1"
    (searched / "oracle.json").write_text(said)
    cut(searched / "trial_1" / "trial.json")
    assert repair_search(searched) == [searched / "trial_1" / "trial.json"]
    again = oracle_in(searched)
    again.reload()
    again.create_trial("tuner0")
    assert again.create_trial("tuner1").trial_id == "1"


def test_a_damaged_trial_that_the_oracle_takes_for_running_does_not_keep_it_from_loading(searched):
    oracle = oracle_in(searched)
    oracle.reload()
    oracle.create_trial("tuner0")
    oracle.create_trial("tuner1")
    cut(searched / "trial_1" / "trial.json")
    repair_search(searched)
    again = oracle_in(searched)
    again.reload()
    assert list(again.trials) == ["0"]


def test_an_oracle_that_was_cut_short_goes_on_after_the_last_trial_that_ended(tmp_path):
    oracle = oracle_in(tmp_path)
    trial = oracle.create_trial("tuner0")
    TrialRecord("0", {}, score=0.5).write(tmp_path / "trial_0")
    SearchFolder(tmp_path).back_up()  # as the trial ends, before keras-tuner notes so
    oracle.update_trial("0", {"val_loss": 0.5})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)
    assert oracle.create_trial("tuner0").trial_id == "1"
    cut(tmp_path / "oracle.json")
    repair_search(tmp_path)
    again = oracle_in(tmp_path)
    again.reload()
    assert again.create_trial("tuner0").trial_id == "1"  # not 0 a second time, and 1 is not forgotten


def test_what_has_no_copy_is_refused(searched):
    cut(searched / "oracle.json")
    (searched / "kerasft" / "backup" / "oracle.json").unlink()
    with pytest.raises(ValueError, match=r"oracle\.json is damaged, and there is no copy of it"):
        repair_search(searched)


def test_a_trial_that_has_a_result_is_not_thrown_away(searched):
    cut(searched / "trial_0" / "trial.json")
    (searched / "kerasft" / "backup" / "trial_0" / "trial.json").unlink()
    with pytest.raises(ValueError, match=r"trial\.json is damaged"):
        repair_search(searched)
    assert (searched / "trial_0" / "trial.json").exists()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: it is directory/project_name of the tuner"):
        repair_search(tmp_path / "nowhere")
