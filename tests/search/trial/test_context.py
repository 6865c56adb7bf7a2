import json
from types import SimpleNamespace

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf
from keras_tuner.src.engine.tuner_utils import SaveBestEpoch, TunerCallback

from kerasft.search.build import targets_of
from kerasft.search.exported_accuracy import ExportedAccuracy
from kerasft.search.preflight import describe_data
from kerasft.search.results.folder import CHECKPOINT, STATE
from kerasft.search.results.ranking import is_better
from kerasft.search.results.record import TrialRecord
from kerasft.search.trial.context import TrialRun

ACCURACY = keras_tuner.Objective("val_accuracy", "max")
X, Y = np.zeros((6, 4), "float32"), np.arange(6)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, i):
        return X[2 * i : 2 * i + 2], Y[2 * i : 2 * i + 2]


def callbacks_of(project, objective=ACCURACY, trial_id="3", tuner=None, ongoing=1, **values):
    """What keras-tuner hands to `fit`: the user's callbacks, then its own two."""
    hp = keras_tuner.HyperParameters()
    hp.values.update({name.replace("tuner_", "tuner/"): value for name, value in values.items()})
    trial = keras_tuner.engine.trial.Trial(hp, trial_id)
    oracle = SimpleNamespace(objective=objective, ongoing_trials=dict.fromkeys(range(ongoing)))
    tuner = tuner or SimpleNamespace()
    tuner.oracle, tuner.project_dir = oracle, str(project)
    saver = SaveBestEpoch(objective, str(project / "best.weights.h5"))
    return [keras.callbacks.TerminateOnNaN(), TunerCallback(tuner, trial), saver]


def run_of(project, *given, **options):
    return TrialRun.of(callbacks_of(project, *given, **options), {"validation_data": (X, Y)})


# --- the callbacks tell of the trial


def test_the_trial_is_known_by_keras_tuners_callbacks_and_its_saver_is_replaced(tmp_path):
    given = callbacks_of(tmp_path, learning_rate=0.1)
    run = TrialRun.of(given, {"validation_data": (X, Y)})
    assert run.callbacks == given[:2] and run.saver is given[2] and run.tuner is given[1].tuner
    assert run.goal is run.objective is ACCURACY
    assert run.values == {"learning_rate": 0.1} and not run.halves
    assert run.key == (str(tmp_path), "3")
    assert run.own_folder == tmp_path / "trial_3" and run.checkpoint == run.own_folder / CHECKPOINT
    assert run.state is None and run.continued() is None


def test_by_hand_there_is_no_trial():
    run = TrialRun.of(None, {})
    assert (run.tuner, run.trial, run.folder, run.own_folder, run.checkpoint, run.state) == (None,) * 6
    assert run.key == ("", "") and run.values == {} and run.callbacks == [] and run.continued() is None
    assert not run.halves and not run.alone and run.most_failures == 3
    run.note_best(1.0)  # to nobody


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({}, "loss"),
        ({"validation_data": None, "validation_split": 0.0}, "loss"),
        ({"validation_data": (X, Y)}, "val_loss"),
        ({"validation_split": 0.2}, "val_loss"),
    ],
)
def test_without_an_objective_it_is_the_least_loss(tmp_path, arguments, name):
    none = keras_tuner.Oracle().objective  # keras-tuner's own stand-in for none
    by_hand = TrialRun.of([], arguments)
    assert (by_hand.objective.name, by_hand.objective.direction) == (name, "min")
    run = TrialRun.of(callbacks_of(tmp_path, none), arguments)
    assert (run.objective.name, run.objective.direction) == (name, "min")
    assert run.goal is none


@pytest.mark.parametrize(("ongoing", "alone"), [(0, True), (1, True), (2, False)])
def test_whether_others_run_beside_it(tmp_path, ongoing, alone):
    assert run_of(tmp_path, ongoing=ongoing).alone is alone


def test_how_many_may_fail_is_what_the_tuner_says(tmp_path):
    run = run_of(tmp_path)
    run.tuner.oracle.max_consecutive_failed_trials = 7
    assert run.most_failures == 7


class Plain(keras_tuner.Tuner):
    """A tuner of somebody's own that looks at epochs alone."""

    project_dir = oracle = None

    def __init__(self):
        pass

    def on_epoch_end(self, *args, **kwargs):
        pass


class LooksAtBatches(Plain):
    def on_batch_end(self, *args, **kwargs):
        pass


@pytest.mark.parametrize(
    ("tuner", "shows"), [(Plain, True), (LooksAtBatches, False), (SimpleNamespace, False)]
)
def test_keras_tuners_callback_costs_no_single_steps_unless_a_tuner_looks_at_batches(tmp_path, tuner, shows):
    run = run_of(tmp_path, tuner=tuner())
    assert getattr(run.callbacks[1], "display_only", False) is shows


# --- the best value


@pytest.mark.parametrize(
    ("objective", "direction"), [(ACCURACY, "max"), (keras_tuner.Objective("val_loss", "min"), "min")]
)
def test_the_best_of_executions_is_handed_on_by_the_saver(tmp_path, objective, direction):
    given = callbacks_of(tmp_path, objective)
    run = TrialRun.of(given, {})
    assert is_better(0.5, run.best, direction)
    run.note_best(0.5)
    # keras-tuner copies callbacks for each execution, but for its saver
    again = TrialRun.of([given[1], given[2]], {})
    assert again.best == 0.5
    assert given[2].best_value == 0.5


def test_without_a_saver_any_value_is_better(tmp_path):
    assert is_better(1e9, TrialRun.of([], {}).best, "min")
    assert is_better(-1e9, TrialRun.of(callbacks_of(tmp_path)[:2], {}).best, "max")


def test_while_a_model_trains_validation_accuracy_stands_for_the_exported_file(tmp_path):
    goal = ExportedAccuracy()
    run = run_of(tmp_path, goal)
    assert run.goal is goal and run.objective is not goal
    logs = {"loss": 1.0, "val_loss": 2.0, "val_accuracy": 0.5}
    assert run.objective.has_value(logs) and run.objective.get_value(logs) == 0.5
    assert run.objective.direction == "max" and is_better(0.5, run.best, "max")


def test_or_else_validation_loss_does(tmp_path):
    run = run_of(tmp_path, ExportedAccuracy())
    assert run.objective.has_value({"loss": 1.0, "val_loss": 2.0})
    assert run.objective.get_value({"loss": 1.0, "val_loss": 2.0}) == 2.0
    assert run.objective.direction == "min"
    assert not run.objective.has_value({"loss": 1.0})


def test_its_first_epoch_is_better_than_none(tmp_path):
    run = run_of(tmp_path, ExportedAccuracy())
    best = run.best  # asked for before anything is logged
    assert run.objective.has_value({"val_loss": 2.0})
    assert is_better(2.0, best, run.objective.direction)


# --- Hyperband


@pytest.mark.parametrize(
    ("bracket", "round_", "goes_on"), [(2, 0, True), (2, 1, True), (2, 2, False), (0, 0, False)]
)
def test_a_state_is_written_where_hyperband_has_a_further_round(tmp_path, bracket, round_, goes_on):
    run = run_of(tmp_path, tuner_epochs=2, tuner_bracket=bracket, tuner_round=round_)
    assert run.halves
    assert run.state == (tmp_path / "trial_3" / STATE if goes_on else None)


def later(project, **changes):
    values = {"tuner_trial_id": "1", "tuner_epochs": 6, "tuner_initial_epoch": 2, "tuner_bracket": 1}
    return run_of(project, **{**values, "tuner_round": 1, **changes})


@pytest.fixture
def earlier(tmp_path):
    """The record of the trial before, whose state is there."""
    record = TrialRecord("1", {}, score=0.5, schedule={"phases": []})
    record.write(tmp_path / "trial_1")
    (tmp_path / "trial_1" / STATE).touch()
    return record


def test_a_trial_goes_on_from_the_one_that_hyperband_names(tmp_path, earlier):
    assert later(tmp_path).continued() == (earlier, tmp_path / "trial_1" / STATE)


@pytest.mark.parametrize(
    "changes", [{"tuner_trial_id": None}, {"tuner_trial_id": "2"}, {"tuner_initial_epoch": 0}]
)
def test_a_trial_of_a_first_round_begins_anew(tmp_path, earlier, changes):
    assert later(tmp_path, **changes).continued() is None


def test_it_begins_anew_where_something_is_missing(tmp_path, earlier):
    (tmp_path / "trial_1" / STATE).unlink()
    assert later(tmp_path).continued() is None
    (tmp_path / "trial_1" / STATE).touch()
    TrialRecord("1", {}, status="failed").write(tmp_path / "trial_1")  # it has no schedule
    assert later(tmp_path).continued() is None


# --- the data


def test_targets_are_found_in_arrays_and_described_by_data_sets():
    assert targets_of({"x": X, "y": Y}) is Y
    assert targets_of({"x": X}) is None
    assert targets_of({}) is None
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(2)
    assert targets_of({"x": data}) == tf.TensorSpec((None,), "int64")
    weighted = tf.data.Dataset.from_tensor_slices((X, Y, np.ones(6))).batch(2)
    assert targets_of({"x": weighted}) == tf.TensorSpec((None,), "int64")
    assert targets_of({"x": tf.data.Dataset.from_tensors(X)}) is None
    assert targets_of({"x": Batches()}).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"x": X, "y": Y}, {"x": [["6", "4"], "float32"], "y": [["6"], "int64"]}),
        (
            {"x": {"a": X, "b": [X, Y]}},
            {"x": {"a": [["6", "4"], "float32"], "b": [[["6", "4"], "float32"], [["6"], "int64"]]}},
        ),
        (
            {"x": Batches(), "validation_data": (X, Y)},
            {"x": ["Batches", 3], "validation_data": [[["6", "4"], "float32"], [["6"], "int64"]]},
        ),
        (
            {"x": tf.data.Dataset.from_tensor_slices(X).batch(4)},
            {"x": ["TensorSpec(shape=(None, 4), dtype=tf.float32, name=None)", 2]},
        ),
        ({"x": [1, 2, 3], "y": [0.5, 1.0]}, {"x": [3, "int64"], "y": [2, "float64"]}),
        ({"x": (v for v in X), "validation_data": None}, {"x": "generator"}),
        (
            {"validation_split": 0.25, "batch_size": 8, "steps_per_epoch": None, "epochs": 5, "verbose": 0},
            {"validation_split": 0.25, "batch_size": 8},
        ),
    ],
)
def test_data_are_described_by_their_form(arguments, said):
    assert describe_data(arguments) == said
    assert json.loads(json.dumps(said)) == said


def test_data_are_described_without_being_read():
    def read():
        raise AssertionError("it was read")

    class Unread(Batches):
        def __getitem__(self, i):
            return read()

    data = tf.data.Dataset.from_generator(read, output_signature=tf.TensorSpec((2,), "float32"))
    said = describe_data({"x": Unread(), "validation_data": data})
    assert said["x"] == ["Unread", 3] and said["validation_data"][1] == -2  # of unknown length


def test_a_number_of_numpy_is_the_same_as_one_of_python():
    # or a search is refused that says the same in another way
    assert describe_data({"validation_split": np.float64(0.25)}) == describe_data({"validation_split": 0.25})
    assert describe_data({"batch_size": np.int64(8)}) == {"batch_size": 8}
