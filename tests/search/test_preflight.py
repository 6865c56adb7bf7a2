"""What is refused before a search trains anything."""

import functools
import json

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf
from keras_tuner import errors
from small_searches import FIXED, Batches, X, Y, build_model, data, grid, searched

import kerasft
from kerasft import FreezeDepthSearch
from kerasft.search.preflight import Preflight, describe_data
from kerasft.search.results import SearchFolder


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


def test_a_search_whose_trials_have_all_ended_refuses_another_too(tmp_path, caplog, capsys):
    def again(**options):  # as in a later process
        search = FreezeDepthSearch(build_model, [2], ["frozen_head", "head_then_all"], **FIXED)
        tuner = grid(search, tmp_path)
        capsys.readouterr()
        return searched(tuner, **options)

    tuner = again()
    trials = list(tuner.oracle.trials)
    assert len(trials) == 2
    x, y = data()
    again()
    assert not caplog.records and capsys.readouterr().out == ""  # the same data: no word
    for message, options in (
        ("another content of the data set", {"train": (x, (y + 1) % 3)}),
        ("another content of the data set", {"train": (x + 1, y)}),
        ("another data set: x was", {"train": data(40)}),
        ("another number of epochs: it was 3 and is 4", {"epochs": 4}),
        ("another data set: validation_",
         {"validation_data": None, "validation_split": 0.25}),
    ):  # fmt: skip
        with pytest.raises(errors.FatalValueError, match=message):
            again(**options)
    for _ in range(2):  # in the process that searched as well, and not once alone
        with pytest.raises(errors.FatalValueError, match="another number of epochs"):
            searched(tuner, epochs=4)
    with pytest.raises(errors.FatalValueError, match="another content of the data set"):
        searched(tuner, train=(x, (y + 1) % 3))
    searched(tuner)
    assert list(tuner.oracle.trials) == trials


def test_the_tuners_own_loss_is_that_of_a_search_that_has_ended(tmp_path):
    def again(**options):
        search = FreezeDepthSearch(lambda: build_model(compiled=False), [2], ["frozen_head"], **FIXED)
        compiled = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
        return searched(grid(search, tmp_path, **compiled), **options)

    again()
    heads = sorted((tmp_path / "p" / "kerasft" / "heads").iterdir())
    again()
    with pytest.raises(errors.FatalValueError, match="another content"):
        again(train=(data()[0] + 1, data()[1]))
    assert sorted((tmp_path / "p" / "kerasft" / "heads").iterdir()) == heads  # no other was trained


def test_a_tuner_with_its_own_way_to_train_and_other_hypermodels_search_as_ever(tmp_path):
    class Halves(keras_tuner.GridSearch):
        def run_trial(self, trial, x, y, part, **kwargs):
            return super().run_trial(trial, x[::part], y[::part], **kwargs)

    def again(hypermodel, part):
        tuner = Halves(hypermodel, "val_accuracy", max_trials=1, directory=tmp_path, project_name="p")
        return searched(tuner, part=part)

    again(FreezeDepthSearch(build_model, [2], ["frozen_head"], **FIXED), 2)
    again(FreezeDepthSearch(build_model, [2], ["frozen_head"], **FIXED), 2)  # `fit` has no argument `part`
    plain = keras_tuner.RandomSearch(
        lambda hp: build_model(units=hp.Choice("units", [5])), "val_accuracy", max_trials=1,
        directory=tmp_path, project_name="plain",
    )  # fmt: skip
    assert len(searched(plain, epochs=1).oracle.trials) == 1
    searched(plain, epochs=2)


def test_a_model_with_other_names_is_the_same_and_one_with_another_activation_is_not(tmp_path):
    space = FreezeDepthSearch(build_model, [1], ["head_then_all"], **FIXED).space

    def check(*names, activation="tanh"):
        def build(hp):
            keras.utils.set_random_seed(0)
            layers = [keras.layers.Dense(3, activation, name=name) for name in names]
            model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(2)])
            return model, kerasft.find_stages(model)

        Preflight(build, space, 0).check_folder(SearchFolder(tmp_path))

    check("a", "b")
    check("c", "d")
    with pytest.raises(errors.FatalValueError, match="begun with another structure of the model"):
        check("a", "b", activation="relu")


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


def test_a_callback_of_the_searchs_own_kind_is_refused(tmp_path):
    schedule = kerasft.UnfreezingSchedule([kerasft.Phase(0)])
    search = FreezeDepthSearch(build_model, [2], **FIXED)
    with pytest.raises(errors.FatalValueError, match="brings a GradualUnfreezing of its own"):
        searched(grid(search, tmp_path), callbacks=[kerasft.GradualUnfreezing(schedule)])
