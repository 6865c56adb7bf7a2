"""What a worker takes and hands on; `test_driver.py` has searches with real ones."""

import keras_tuner
import pytest
from keras_tuner.engine.trial import Trial, TrialStatus
from small_searches import FIXED, build_model, grid

from kerasft import FreezeDepthSearch
from kerasft.search.cluster.worker import OneTrial, Worker


def test_a_worker_that_sees_another_folder_says_so(tmp_path):
    tuner = grid(FreezeDepthSearch(build_model, budget=1.0, **FIXED), tmp_path)
    tuner.hypermodel.on_trial_end = print
    worker = object.__new__(Worker)  # as TensorFlow runs here already, and has its threads
    with pytest.raises(keras_tuner.errors.FatalValueError, match="must be a folder that all machines share"):
        worker.prepare("ray0", tuner, (), {})
    tuner.save()
    worker.prepare("ray0", tuner, (lambda: 1, "data"), {"x": lambda: 2, "mine": len})
    assert (worker.args, worker.kwargs) == ([1, "data"], {"x": 2, "mine": len})
    # the process that searches looks at them
    assert (tuner.hypermodel.budget, tuner.hypermodel.on_trial_end) == (None, None)


def test_it_is_told_of_one_trial_and_then_that_there_are_no_more(tmp_path):
    tuner = grid(FreezeDepthSearch(build_model, **FIXED), tmp_path)
    trial = Trial(keras_tuner.HyperParameters(), "007", TrialStatus.RUNNING)
    oracle = OneTrial(tuner.oracle, trial)
    assert oracle.create_trial("ray0") is trial
    assert oracle.create_trial("ray0").status == TrialStatus.STOPPED
    oracle.update_trial("007", {"val_accuracy": 0.5}, step=3)
    oracle.end_trial(trial)
    assert oracle.trial is trial and oracle.report == ({"val_accuracy": 0.5}, 3)
    assert not hasattr(oracle, "ongoing_trials")  # nobody takes its trial for the only one
