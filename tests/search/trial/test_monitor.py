import math

import keras
import keras_tuner
import numpy as np
import pytest

from kerasft import _keras
from kerasft.search.trial.checkpoint import read_checkpoint, weight_fingerprints
from kerasft.search.trial.monitor import (
    TrialMonitor,
    read_state,
    value_of,
    write_state,
)

ACCURACY = keras_tuner.Objective("val_accuracy", "max")
LOSS = keras_tuner.Objective("val_loss", "min")


def build():
    """A small model that is the same each time."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(3, name="body"), keras.layers.Dense(2, name="top")]
    return keras.Sequential([keras.Input((4,)), *layers], name="net")


def monitor_of(model, objective=ACCURACY, checkpoint=None, best=-math.inf, **options):
    monitor = TrialMonitor(objective, weight_fingerprints(model), checkpoint, best, **options)
    monitor.set_model(model)
    model.stop_training = False  # as `fit` does
    return monitor


def top(model):
    return model.get_layer("top").bias


# --- the curve and the best epoch


@pytest.mark.parametrize(
    ("objective", "values", "best_epochs"),
    [
        (ACCURACY, [0.5, 0.4, 0.5, 0.7, math.nan], [0, 3]),  # one that is equal or no number is no better
        (LOSS, [0.5, 0.6, 0.5, 0.2, math.nan], [0, 3]),
    ],
)
def test_a_checkpoint_is_written_when_an_epoch_is_better_and_only_then(
    tmp_path, objective, values, best_epochs
):
    model, path = build(), tmp_path / "trial_0" / "best.h5"
    worst = -math.inf if objective.direction == "max" else math.inf
    monitor = monitor_of(model, objective, path, worst)
    written = []
    for epoch, value in enumerate(values):
        top(model).assign([epoch + 1.0] * 2)
        path.unlink(missing_ok=True)
        monitor.on_epoch_end(epoch, {"loss": 1.0, objective.name: value})
        if path.exists():
            written.append(epoch)
            loaded = build()
            read_checkpoint(path, loaded)
            assert top(loaded).numpy().tolist() == [epoch + 1.0] * 2
    assert written == best_epochs
    np.testing.assert_array_equal(monitor.curve, values)
    assert monitor.best == values[3] and monitor.logs[3] == {"loss": 1.0, objective.name: values[3]}
    assert monitor.stopped is None and not model.stop_training


def test_earlier_executions_count_for_the_best_and_not_for_the_curve(tmp_path):
    monitor = monitor_of(build(), checkpoint=tmp_path / "best.h5", best=0.6)
    monitor.on_epoch_end(0, {"val_accuracy": 0.5})
    assert monitor.best == 0.6 and monitor.curve == [0.5] and not (tmp_path / "best.h5").exists()
    monitor.on_epoch_end(1, {"val_accuracy": 0.7})
    assert monitor.best == 0.7 and (tmp_path / "best.h5").exists()


def test_without_a_file_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monitor = monitor_of(build())
    monitor.on_epoch_end(0, {"val_accuracy": np.float32(0.5)})
    assert monitor.best == 0.5 and list(tmp_path.iterdir()) == []
    assert type(monitor.curve[0]) is type(monitor.logs[0]["val_accuracy"]) is float  # as JSON takes them


def test_several_objectives_are_one_sum():
    both = keras_tuner.Oracle([ACCURACY, LOSS]).objective
    monitor = monitor_of(build(), both, best=math.inf)
    monitor.on_epoch_end(0, {"loss": 9.0, "val_accuracy": 0.5, "val_loss": 2.0})
    monitor.on_epoch_end(1, {"loss": 9.0, "val_accuracy": 0.25, "val_loss": 2.0})
    assert monitor.curve == [1.5, 1.75] and monitor.best == 1.5  # 2.0 - 0.5; less is better


# --- what ends a trial


def test_a_loss_that_is_no_number_fails_the_trial_and_keeps_nothing(tmp_path):
    monitor = monitor_of(build(), checkpoint=tmp_path / "best.h5")
    with pytest.raises(keras_tuner.errors.FailedTrialError, match="The loss became NaN in epoch 3"):
        monitor.on_epoch_end(3, {"loss": math.nan, "val_accuracy": 0.9})
    assert monitor.curve == [] and not (tmp_path / "best.h5").exists()


def test_an_objective_that_is_not_logged_ends_the_search_and_what_is_logged_is_named():
    logs = {"loss": 1.0, "val_loss": 1.0, "val_acc": 0.5}
    with pytest.raises(
        keras_tuner.errors.FatalValueError,
        match=r"val_accuracy.*is not logged\. An epoch logs \['loss', 'val_acc', 'val_loss'\]\. Name one",
    ):
        monitor_of(build()).on_epoch_end(0, logs)
    with pytest.raises(keras_tuner.errors.FatalValueError, match=r"search\(\.\.\., validation_data=\.\.\.\)"):
        value_of(ACCURACY, {"loss": 1.0})
    with pytest.raises(keras_tuner.errors.FatalValueError, match="or give `compile` the metric"):
        value_of(keras_tuner.Objective("accuracy", "max"), {"loss": 1.0})
    with pytest.raises(keras_tuner.errors.FatalValueError, match="is not logged"):
        monitor_of(build()).on_epoch_end(0, None)


@pytest.mark.parametrize("verdict", [True, False])
def test_a_trial_is_stopped_as_unlikely_by_its_curve_and_depths(verdict):
    model, asked = build(), []

    def is_unlikely(curve, depths):
        asked.append((list(curve), list(depths)))
        return verdict and len(curve) == 2

    monitor = monitor_of(model, is_unlikely=is_unlikely)
    monitor.on_epoch_end(0, {"val_accuracy": 0.2, "freeze_depth": 2.0})
    assert monitor.stopped is None and not model.stop_training
    monitor.on_epoch_end(1, {"val_accuracy": 0.1, "freeze_depth": 1.0})
    assert asked == [([0.2], [2]), ([0.2, 0.1], [2, 1])]
    assert model.stop_training is verdict
    assert ("stopped as unlikely after epoch 1" in (monitor.stopped or "")) is verdict


# --- the state from which a later trial goes on


def compiled(scaled=False):
    model = build()
    optimizer = keras.optimizers.Adam(0.1, name="adam")
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, name="scale")
    model.compile(optimizer, "mse")
    _keras.add_step_counts(model.optimizer)
    model.optimizer.build(model.trainable_variables)
    return model


def step(model, value):
    """One step of the optimizer with made-up gradients."""
    gradients = [keras.ops.full(v.shape, value * (i + 1)) for i, v in enumerate(model.trainable_variables)]
    model.optimizer.apply(gradients, model.trainable_variables)


def slots(model):
    return {v.path: np.array(v) for v in _keras.optimizer_variables(model.optimizer)}


@pytest.mark.parametrize("scaled", [False, True])
def test_training_goes_on_from_a_state_as_if_it_had_not_been_interrupted(tmp_path, scaled):
    model = compiled(scaled)
    before = weight_fingerprints(model)
    step(model, 1.0)
    step(model, -0.5)
    write_state(tmp_path / "state.h5", model, before)
    other = compiled(scaled)
    read_state(tmp_path / "state.h5", other)
    expected = slots(model)
    assert any("momentum" in path for path in expected)
    for path, value in slots(other).items():
        np.testing.assert_array_equal(value, expected[path], err_msg=path)
    assert int(_keras.inner_optimizer(other.optimizer).iterations) == 2
    step(model, 0.25)
    step(other, 0.25)
    assert weight_fingerprints(other) == weight_fingerprints(model)
    fresh = compiled(scaled)  # the weights alone would not do
    read_checkpoint(tmp_path / "state.h5", fresh)
    step(fresh, 0.25)
    assert weight_fingerprints(fresh) != weight_fingerprints(model)


def test_the_state_is_that_of_the_last_epoch_and_the_checkpoint_that_of_the_best(tmp_path):
    model = compiled()
    monitor = monitor_of(model, checkpoint=tmp_path / "best.h5", state=tmp_path / "state.h5")
    for epoch, accuracy in enumerate((0.9, 0.5)):
        top(model).assign([epoch + 1.0] * 2)
        monitor.on_epoch_end(epoch, {"val_accuracy": accuracy})
    other = compiled()
    read_checkpoint(tmp_path / "best.h5", other)
    assert top(other).numpy().tolist() == [1.0, 1.0]
    other = compiled()
    read_state(tmp_path / "state.h5", other)
    assert top(other).numpy().tolist() == [2.0, 2.0]
