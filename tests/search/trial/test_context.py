from types import SimpleNamespace

import keras
import keras_tuner
import numpy as np
import pytest
from keras_tuner.src.engine.tuner_utils import SaveBestEpoch, TunerCallback

from kerasft.search.exported_accuracy import ExportedAccuracy
from kerasft.search.results.folder import CHECKPOINT, STATE
from kerasft.search.results.ranking import is_better
from kerasft.search.results.record import TrialRecord
from kerasft.search.trial.context import TrialContext

ACCURACY = keras_tuner.Objective("val_accuracy", "max")
X, Y = np.zeros((6, 4), "float32"), np.arange(6)


def callbacks_of(project, objective=ACCURACY, trial_id="3", tuner=None, ongoing=1, **values):
    """What keras-tuner hands to `fit`: the user's callbacks, then its own two."""
    hp = keras_tuner.HyperParameters()
    hp.values.update({name.replace("tuner_", "tuner/"): value for name, value in values.items()})
    trial = keras_tuner.engine.trial.Trial(hp, trial_id)
    oracle = SimpleNamespace(objective=objective, ongoing_trials=dict.fromkeys(range(ongoing)))
    tuner = tuner or SimpleNamespace()
    tuner.oracle, tuner.project_dir = oracle, str(project)
    save_callback = SaveBestEpoch(objective, str(project / "best.weights.h5"))
    return [keras.callbacks.TerminateOnNaN(), TunerCallback(tuner, trial), save_callback]


def context_of(project, *given, **options):
    return TrialContext.of(callbacks_of(project, *given, **options), {"validation_data": (X, Y)})


# --- the callbacks tell of the trial


def test_the_trial_is_known_by_keras_tuners_callbacks_and_its_saver_is_replaced(tmp_path):
    given = callbacks_of(tmp_path, learning_rate=0.1)
    context = TrialContext.of(given, {"validation_data": (X, Y)})
    assert (
        context.callbacks == given[:2]
        and context.save_callback is given[2]
        and context.tuner is given[1].tuner
    )
    assert context.goal is context.objective is ACCURACY
    assert context.values == {"learning_rate": 0.1} and not context.is_hyperband
    assert context.key == (str(tmp_path), "3")
    assert (
        context.own_folder == tmp_path / "trial_3" and context.checkpoint == context.own_folder / CHECKPOINT
    )
    assert context.state is None and context.continued() is None


def test_by_hand_there_is_no_trial():
    context = TrialContext.of(None, {})
    assert (
        context.tuner,
        context.trial,
        context.folder,
        context.own_folder,
        context.checkpoint,
        context.state,
    ) == (None,) * 6
    assert (
        context.key == ("", "")
        and context.values == {}
        and context.callbacks == []
        and context.continued() is None
    )
    assert not context.is_hyperband and not context.alone and context.most_failures == 3
    context.note_best(1.0)  # to nobody


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
    by_hand = TrialContext.of([], arguments)
    assert (by_hand.objective.name, by_hand.objective.direction) == (name, "min")
    context = TrialContext.of(callbacks_of(tmp_path, none), arguments)
    assert (context.objective.name, context.objective.direction) == (name, "min")
    assert context.goal is none


@pytest.mark.parametrize(("ongoing", "alone"), [(0, True), (1, True), (2, False)])
def test_whether_others_run_at_the_same_time(tmp_path, ongoing, alone):
    assert context_of(tmp_path, ongoing=ongoing).alone is alone


def test_how_many_may_fail_is_what_the_tuner_says(tmp_path):
    context = context_of(tmp_path)
    context.tuner.oracle.max_consecutive_failed_trials = 7
    assert context.most_failures == 7


class Plain(keras_tuner.Tuner):
    """A tuner of somebody's own that looks at epochs alone."""

    project_dir = oracle = None

    def __init__(self):
        self.seen = []

    def on_epoch_begin(self, trial, model, epoch, logs=None):
        self.seen.append((trial, model, epoch, logs))

    def on_epoch_end(self, trial, model, epoch, logs=None):
        self.seen.append((trial, model, epoch, logs))


class LooksAtBatches(Plain):
    def on_batch_end(self, *args, **kwargs):
        pass


@pytest.mark.parametrize(
    ("tuner", "shows"), [(Plain, True), (LooksAtBatches, False), (SimpleNamespace, False)]
)
def test_keras_tuners_callback_costs_no_single_steps_unless_a_tuner_looks_at_batches(tmp_path, tuner, shows):
    context = context_of(tmp_path, tuner=tuner())
    callback, none = type(context.callbacks[1]), keras.callbacks.Callback
    hooks = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")
    assert all(getattr(callback, hook) is getattr(none, hook) for hook in hooks) is shows


def test_the_tuners_hooks_for_epochs_are_called_all_the_same(tmp_path):
    context = context_of(tmp_path, tuner=Plain())
    callback, model = context.callbacks[1], keras.Sequential()
    callback.set_model(model)
    callback.on_epoch_begin(0, {"a": 1})
    callback.on_epoch_end(0, {"b": 2})
    assert context.tuner.seen == [(context.trial, model, 0, {"a": 1}), (context.trial, model, 0, {"b": 2})]


# --- the best value


@pytest.mark.parametrize(
    ("objective", "direction"), [(ACCURACY, "max"), (keras_tuner.Objective("val_loss", "min"), "min")]
)
def test_the_best_of_executions_is_handed_on_by_the_saver(tmp_path, objective, direction):
    given = callbacks_of(tmp_path, objective)
    context = TrialContext.of(given, {})
    assert is_better(0.5, context.best, direction)
    context.note_best(0.5)
    # keras-tuner copies callbacks for each execution, but for its save_callback
    again = TrialContext.of([given[1], given[2]], {})
    assert again.best == 0.5
    assert given[2].best_value == 0.5


def test_without_a_saver_any_value_is_better(tmp_path):
    assert is_better(1e9, TrialContext.of([], {}).best, "min")
    assert is_better(-1e9, TrialContext.of(callbacks_of(tmp_path)[:2], {}).best, "max")


def test_while_a_model_trains_validation_accuracy_stands_for_the_exported_file(tmp_path):
    goal = ExportedAccuracy()
    context = context_of(tmp_path, goal)
    assert context.goal is goal and context.objective is not goal
    logs = {"loss": 1.0, "val_loss": 2.0, "val_accuracy": 0.5}
    assert context.objective.has_value(logs) and context.objective.get_value(logs) == 0.5
    assert context.objective.direction == "max" and is_better(0.5, context.best, "max")


def test_or_else_validation_loss_does(tmp_path):
    context = context_of(tmp_path, ExportedAccuracy())
    assert context.objective.has_value({"loss": 1.0, "val_loss": 2.0})
    assert context.objective.get_value({"loss": 1.0, "val_loss": 2.0}) == 2.0
    assert context.objective.direction == "min"
    assert not context.objective.has_value({"loss": 1.0})


def test_its_first_epoch_is_better_than_none(tmp_path):
    context = context_of(tmp_path, ExportedAccuracy())
    best = context.best  # asked for before anything is logged
    assert context.objective.has_value({"val_loss": 2.0})
    assert is_better(2.0, best, context.objective.direction)


# --- Hyperband


@pytest.mark.parametrize(
    ("bracket", "round_", "goes_on"), [(2, 0, True), (2, 1, True), (2, 2, False), (0, 0, False)]
)
def test_a_state_is_written_where_hyperband_has_a_further_round(tmp_path, bracket, round_, goes_on):
    context = context_of(tmp_path, tuner_epochs=2, tuner_bracket=bracket, tuner_round=round_)
    assert context.is_hyperband
    assert context.state == (tmp_path / "trial_3" / STATE if goes_on else None)


def later(project, **changes):
    values = {"tuner_trial_id": "1", "tuner_epochs": 6, "tuner_initial_epoch": 2, "tuner_bracket": 1}
    return context_of(project, **{**values, "tuner_round": 1, **changes})


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
def test_a_trial_of_a_first_round_begins_from_scratch(tmp_path, earlier, changes):
    assert later(tmp_path, **changes).continued() is None


def test_it_begins_from_scratch_where_something_is_missing(tmp_path, earlier):
    (tmp_path / "trial_1" / STATE).unlink()
    assert later(tmp_path).continued() is None
    (tmp_path / "trial_1" / STATE).touch()
    TrialRecord("1", {}, status="failed").write(tmp_path / "trial_1")  # it has no schedule
    assert later(tmp_path).continued() is None


# --- the data
