"""FreezeDepthSearch with keras-tuner's tuners: what trials share, what they come to, and what is refused."""

import errno
import functools
import json
import logging
import pickle
import sys
from pathlib import Path

import forked
import keras
import keras_tuner
import numpy as np
import pytest
from keras_tuner import errors
from small_searches import FIXED, build_model, data, grid, searched

import kerasft
from kerasft import FreezeDepthSearch
from kerasft.cache import step_function
from kerasft.search.results import folder as search_folder
from kerasft.search.results.ranking import ranked
from kerasft.unfreezing.recipes import RECIPES

TUNERS = {
    "random": functools.partial(keras_tuner.RandomSearch, max_trials=4, seed=1),
    "grid": functools.partial(keras_tuner.GridSearch, max_trials=4, seed=1),
    "bayesian": functools.partial(
        keras_tuner.BayesianOptimization, max_trials=4, num_initial_points=2, seed=1
    ),
    "hyperband": functools.partial(keras_tuner.Hyperband, max_epochs=4, factor=2, seed=1),
}


# what keras-tuner's own model of the scores says of itself after two trials
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", TUNERS)
def test_every_tuner_searches_and_gives_the_best_model(name, tmp_path):
    search = FreezeDepthSearch(build_model)
    tuner = searched(TUNERS[name](search, "val_accuracy", directory=tmp_path, project_name="p"))
    records = search.results()
    assert len(records) >= 4 and all(r.score is not None for r in records)
    best = ranked(records, "max")[0]
    (trial,) = tuner.oracle.get_best_trials(1)
    assert (trial.trial_id, trial.score) == (best.trial, best.score)
    model, fresh = search.best_model(), search.best_model(tuner)
    assert model is not fresh and type(model) is keras.Sequential
    x, y = data(24, 1)
    assert model.evaluate(x, y, verbose=0, return_dict=True)["accuracy"] == pytest.approx(best.score)
    keras.utils.set_random_seed(search.seed)
    before = kerasft.find_stages(build_model())
    for depth, (was, now) in enumerate(zip(before, kerasft.find_stages(model), strict=True)):
        same = [np.array_equal(a, b) for a, b in zip(was.weights, now.weights, strict=True)]
        assert all(same) if depth < best.depth else not any(same), was.name


def scores(folder, share, **options):
    options = {"warm_start": False, "prune": False} | FIXED | options
    search = FreezeDepthSearch(build_model, [1, "block_2"], share=share, **options)
    searched(grid(search, folder))
    return search.results()


def test_sharing_changes_no_score(tmp_path):
    shared, alone = scores(tmp_path / "a", True), scores(tmp_path / "b", False)
    assert {(r.recipe, r.depth) for r in alone} == {
        ("frozen_head", 3), *((recipe, depth) for recipe in RECIPES[1:] for depth in (1, 2)),
    }  # fmt: skip
    for a, b in zip(shared, alone, strict=True):
        assert (a.recipe, a.depth, a.epochs) == (b.recipe, b.depth, 3)
        np.testing.assert_allclose(a.curve, b.curve, atol=1e-6)
        assert a.metrics["val_loss"] == pytest.approx(b.metrics["val_loss"], abs=1e-5)
        assert (a.replayed, b.replayed) == (3, 0)
    assert len({round(r.metrics["val_loss"], 4) for r in alone}) > 3  # they are not all the same


def test_the_frozen_layers_run_once_in_a_whole_search(tmp_path, monkeypatch):
    traced = []
    trace = step_function.trace_prefix
    monkeypatch.setattr(step_function, "trace_prefix", lambda *given: traced.append(1) or trace(*given))
    records = scores(tmp_path, True, warm_start=True)
    assert len(records) == 7 and len(traced) == 2  # for training and for validation, before the first trial
    assert all(r.replayed == r.epochs for r in records)


def test_trials_begin_with_a_trained_head(tmp_path):
    losses = []
    for warm_start in (False, True):
        options = FIXED | {"warm_start": warm_start, "learning_rate": 1e-4}
        search = FreezeDepthSearch(build_model, [2], ["frozen_head"], **options)
        searched(grid(search, tmp_path / str(warm_start), objective="val_loss"))
        losses.append(search.results()[0].curve[0])
    cold, warm = losses
    assert warm < cold - 0.02


def test_checkpoints_hold_what_trained_and_only_the_best_stay(tmp_path):
    search = FreezeDepthSearch(build_model, [2], keep=2, **FIXED)
    tuner = searched(grid(search, tmp_path))
    kept = {p.parent.name: p for p in Path(tuner.project_dir).glob("trial_*/checkpoint.weights.h5")}
    assert set(kept) == {f"trial_{r.trial}" for r in ranked(search.results(), "max")[:2]}
    assert len(search.results()) == 4
    x, y = data(24, 1)
    for model, record in zip(tuner.get_best_models(2), ranked(search.results(), "max"), strict=False):
        assert model.evaluate(x, y, verbose=0, return_dict=True)["accuracy"] == pytest.approx(record.score)
    with pytest.raises(FileNotFoundError, match=r"FreezeDepthSearch\(keep=3\)"):
        tuner.get_best_models(3)


def test_a_trial_that_cannot_win_is_stopped(tmp_path):
    options = FIXED | {"learning_rate": [0.05, 0.04, 0.001]}
    search = FreezeDepthSearch(build_model, [2], ["head_then_all"], warm_start=False, **options)
    tuner = searched(grid(search, tmp_path, objective="val_loss"), epochs=6)
    records = search.results()
    assert [r.status for r in records] == ["completed", "completed", "stopped"]
    assert records[2].epochs == 2  # one with the head alone, and the first one that has thawed
    assert "could not have become the best" in records[2].reason
    assert tuner.oracle.get_trial(records[2].trial).score == records[2].score == min(records[2].curve)


def test_what_the_users_own_build_adds_is_searched(tmp_path):
    def build(hp):
        return build_model(units=hp.Choice("units", [4, 6]))

    search = FreezeDepthSearch(build, [2], ["head_then_all"], **FIXED)
    searched(grid(search, tmp_path))
    assert [r.values["units"] for r in search.results()] == [4, 6]
    assert [r.score is not None for r in search.results()] == [True, True]


def test_a_model_that_is_not_compiled_gets_the_usual_loss(tmp_path):
    search = FreezeDepthSearch(lambda: build_model(compiled=False), [2], ["frozen_head"], **FIXED)
    tuner = searched(grid(search, tmp_path))
    assert search.best_model(tuner).loss.name == "sparse_categorical_crossentropy"
    assert "val_accuracy" in search.results()[0].metrics


def test_executions_of_a_trial_are_averaged(tmp_path):
    search = FreezeDepthSearch(
        build_model, [0], ["head_then_all"], warm_start=False, **FIXED | {"dropout": 0.5}
    )
    tuner = searched(grid(search, tmp_path, objective="val_loss", executions_per_trial=2))
    (record,) = search.results()
    assert len(record.scores) == 2 and record.scores[0] != record.scores[1]
    assert record.score == pytest.approx(np.mean(record.scores))
    assert tuner.oracle.get_trial(record.trial).score == pytest.approx(record.score)
    x, y = data(24, 1)
    loss = search.best_model().evaluate(x, y, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(min(record.scores), abs=1e-5)


def test_a_budget_ends_the_search(tmp_path):
    search = FreezeDepthSearch(build_model, **FIXED, budget=1e-3)
    searched(grid(search, tmp_path))
    assert len(search.results()) == 1


def test_a_report_without_matplotlib_lacks_the_figure_alone(tmp_path, monkeypatch, caplog):
    search = FreezeDepthSearch(build_model, [2], ["frozen_head"], **FIXED)
    tuner = searched(grid(search, tmp_path))
    names = {"trials.csv", "trials.json", "tensorboard"}
    assert {p.name for p in search.write_report(tmp_path / "a", tuner)} == names | {"trials.png"}
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert {p.name for p in search.write_report(tmp_path / "b")} == names
    assert {p.name for p in (tmp_path / "b").iterdir()} == names
    assert 'pip install "kerasft[plots]"' in caplog.text


def test_it_goes_to_another_process(tmp_path):
    search = FreezeDepthSearch(build_model, [2], ["frozen_head"], **FIXED)
    searched(grid(search, tmp_path))
    other = pickle.loads(pickle.dumps(search))
    with pytest.raises(ValueError, match="No search has run in this process"):
        other.results()


# --- killed, and resumed


def run_killed(folder, *words):
    folder.mkdir(exist_ok=True)
    return forked.finish(forked.start("killed_search.py", folder, *words, folder=folder))


@pytest.mark.slow
def test_a_search_that_was_killed_gives_the_best_trial_of_one_that_was_not(tmp_path):
    errors = tmp_path / "killed" / "errors.txt"
    assert run_killed(tmp_path / "whole") == 0
    for trial, epoch in ((0, 1), (2, 0), (4, 2)):
        code = run_killed(tmp_path / "killed", "kill", trial, epoch)
        assert code == -9, errors.read_text()[-2000:]
    assert run_killed(tmp_path / "killed") == 0, errors.read_text()[-2000:]
    whole, killed = (
        json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "killed")
    )
    assert [r["trial"] for r in killed] == [r["trial"] for r in whole]
    for a, b in zip(killed, whole, strict=True):
        assert a["values"].keys() == b["values"].keys()
        for name, value in a["values"].items():
            # what the tuner's model of the scores proposes depends on their last bits
            expected = value if isinstance(value, str) else pytest.approx(value, rel=1e-3)
            assert b["values"][name] == expected, name
        assert a["curve"] == pytest.approx(b["curve"], abs=1e-3)
    best = [(tmp_path / name / "best.txt").read_text().split() for name in ("whole", "killed")]
    assert best[0][0] == best[1][0]
    assert float(best[0][1]) == pytest.approx(float(best[1][1]), abs=1e-3)


# --- what is refused


def test_another_search_in_the_same_folder_is_refused_by_name(tmp_path):
    random = functools.partial(
        keras_tuner.RandomSearch, objective="val_accuracy", directory=tmp_path, project_name="p", seed=1
    )
    begun = FreezeDepthSearch(build_model, [1, 2], ["head_then_all"], **FIXED)
    searched(random(begun, max_trials=1))

    def again(message, train=None, build=build_model, depths=(1, 2), **options):
        search = FreezeDepthSearch(build, list(depths), ["head_then_all"], **FIXED | options)
        with pytest.raises(errors.FatalValueError, match=message):
            searched(random(search, max_trials=2), **({} if train is None else {"train": train}))

    again(r"another search space: .*freeze_depth was .*", depths=(0, 1))
    again("another search space: .*learning_rate is new", learning_rate=[0.1, 0.01])
    again("another model: ", build=lambda: build_model(units=6))
    again("another data set: x was", train=data(40))
    x, y = data()
    again("another content of the data set", train=(x + 1, y))
    tuner = searched(random(begun, max_trials=2))  # to its end: there is nothing left to run
    assert len(begun.results(tuner)) == 2
    other = FreezeDepthSearch(build_model, [0, 1], ["head_then_all"], **FIXED)
    with pytest.raises(ValueError, match=r"another search space: .*freeze_depth was"):
        other.results(searched(random(other, max_trials=2)))


def test_what_build_model_must_return(tmp_path):
    with pytest.raises(errors.FatalTypeError, match="build_model returned None, which is no Keras model"):
        grid(FreezeDepthSearch(lambda: None), tmp_path)
    with pytest.raises(TypeError, match="build_model is a function"):
        FreezeDepthSearch(build_model())


def test_a_depth_that_the_model_lacks(tmp_path):
    with pytest.raises(ValueError, match=r"No stage is named 'block_7'.*block_0"):
        grid(FreezeDepthSearch(build_model, ["block_7"]), tmp_path)


def test_names_that_build_model_must_not_take(tmp_path):
    def build(hp):
        hp.Float("learning_rate", 0.1, 0.2)
        return build_model()

    with pytest.raises(
        errors.FatalValueError, match=r"declares \['learning_rate'\], which FreezeDepthSearch"
    ):
        grid(FreezeDepthSearch(build), tmp_path)


@pytest.mark.parametrize(
    ("objective", "options", "message"),
    [
        ("val_acc", {}, r"'?val_acc'?.* is not logged.*'val_accuracy'"),
        ("val_accuracy", {"validation_data": None}, "needs validation data"),
    ],
)
def test_an_objective_that_is_not_logged_ends_the_search(tmp_path, objective, options, message):
    search = FreezeDepthSearch(build_model, [2], **FIXED)
    goal = keras_tuner.Objective(objective, "max")
    with pytest.raises(errors.FatalValueError, match=message):
        searched(grid(search, tmp_path, objective=goal), **options)


def test_when_every_trial_fails_the_first_traceback_is_shown(tmp_path, caplog):
    calls = []

    class Fails(keras.callbacks.Callback):
        def __deepcopy__(self, memo):
            return self

        def on_epoch_begin(self, epoch, logs=None):
            calls.append(1)
            raise ValueError(f"number {len(calls)}")

    search = FreezeDepthSearch(build_model, share=False, **FIXED)
    with pytest.raises(errors.FatalRuntimeError, match="All 3 trials have failed.*\n.*Traceback") as caught:
        searched(grid(search, tmp_path), callbacks=[Fails()])
    assert "number 1" in str(caught.value) and "number 3" not in str(caught.value)
    assert caplog.text.count("Traceback") == 1
    assert [r.status for r in search.results()] == ["failed"] * 3


def test_a_loss_of_nan_fails_the_trial_and_the_search_goes_on(tmp_path):
    search = FreezeDepthSearch(
        build_model, [2], ["head_then_all"], share=False, **FIXED | {"learning_rate": [0.05, 0.04]}
    )

    class Spoils(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if float(self.model.optimizer.learning_rate) < 0.045:
                kernel = self.model.get_layer("top").kernel
                kernel.assign(kernel * np.nan)

    tuner = searched(grid(search, tmp_path), callbacks=[Spoils()])
    assert [(r.status, "NaN" in r.reason) for r in search.results()] == [
        ("completed", False),
        ("failed", True),
    ]
    assert search.best_model(tuner) is not None


def test_a_full_disk_ends_the_search_and_says_so(tmp_path, monkeypatch):
    def full(*given, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("kerasft.search.trial.monitor.write_checkpoint", full)
    search = FreezeDepthSearch(build_model, [2], ["frozen_head"], **FIXED)
    with pytest.raises(errors.FatalRuntimeError, match=r"no room left.*Make room.*the same program"):
        searched(grid(search, tmp_path))
    monkeypatch.undo()
    tuner = searched(grid(search, tmp_path))  # the same program, once there is room
    assert [r.status for r in search.results(tuner)] == ["completed"]


def test_a_callback_of_the_searchs_own_kind_is_refused(tmp_path):
    schedule = kerasft.UnfreezingSchedule([kerasft.Phase(0)])
    search = FreezeDepthSearch(build_model, [2], **FIXED)
    with pytest.raises(errors.FatalValueError, match="brings a GradualUnfreezing of its own"):
        searched(grid(search, tmp_path), callbacks=[kerasft.GradualUnfreezing(schedule)])


def test_that_nothing_is_shared_is_said_once(tmp_path, caplog):
    def build():
        model = build_model()
        noisy = keras.Sequential([keras.Input((4,)), keras.layers.GaussianNoise(0.1), *model.layers])
        noisy.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return noisy

    search = FreezeDepthSearch(build, [2], **FIXED)
    with caplog.at_level(logging.WARNING):
        searched(grid(search, tmp_path))
    assert caplog.text.count("Trials share no frozen work: ") == 1
    assert all(r.replayed == 0 and r.score is not None for r in search.results())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 0}, "keep is a number of checkpoints"),
        ({"budget": 0}, "budget is a number of seconds"),
        ({"batch_norm": "x"}, "batch_norm"),
        ({"recipes": ["all"]}, "No recipe is named"),
    ],
)
def test_arguments_are_checked_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        FreezeDepthSearch(build_model, **options)


def test_before_a_search_there_are_no_results(tmp_path):
    search = FreezeDepthSearch(build_model)
    with pytest.raises(ValueError, match="No search has run in this process"):
        search.best_model()
    with pytest.raises(ValueError, match="has come to a score yet"):
        search.best_model(grid(search, tmp_path))
    assert search_folder.SearchFolder(tmp_path).shared == tmp_path / "kerasft"
