"""Checks of monitors, rates, stages, callbacks and flags."""

import keras
import pytest

import kerasft
from kerasft import GradualUnfreezing, Phase, UnfreezingSchedule
from kerasft.freezing.flags import Flags
from kerasft.unfreezing.checks import (
    check_callbacks,
    check_flags,
    check_monitors,
    check_rates,
    check_stages,
)


def test_missing_monitors_are_named_with_those_that_exist():
    phases = [Phase(1, 1, monitor="val_acc"), Phase(0, patience=1, monitor="mae")]
    with pytest.raises(ValueError, match=r"\['mae', 'val_acc'\].*\['accuracy', 'loss'\].*validation_data"):
        check_monitors(phases, {"loss": 1.0, "accuracy": 0.5})
    check_monitors(phases, {"val_acc": 1.0, "mae": 0.5})


def test_each_missing_monitor_is_named_once():
    schedule = UnfreezingSchedule(
        [Phase(1, 1, monitor="mae"), Phase(1, 1, monitor="val_acc"), Phase(1, 1, monitor="mae"), Phase(0)]
    )
    with pytest.raises(ValueError, match=r"watches \['mae', 'val_acc'\], .* logged \['loss'\]"):
        check_monitors(schedule, {"loss": 1.0})
    check_monitors(schedule, {"mae": 1.0, "val_acc": 1.0})
    with pytest.raises(ValueError, match="val_acc.*Watch one of") as caught:
        check_monitors(schedule, {"mae": 1.0, "val_accuracy": 0.5})
    assert "validation_data" not in str(caught.value)  # there is some: the name is wrong


def test_a_rate_needs_an_optimizer_that_can_be_set():
    scheduled = keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 10))
    check_rates([Phase(0)], scheduled)
    check_rates([Phase(0, learning_rate=0.1)], keras.optimizers.SGD(0.1))
    with pytest.raises(ValueError, match="LearningRateSchedule.*Leave Phase.learning_rate out"):
        check_rates([Phase(1, 1), Phase(0, learning_rate=0.1)], scheduled)


def test_stages_are_those_of_the_model(dense_model, image_model):
    check_stages(kerasft.find_stages(dense_model), dense_model)
    with pytest.raises(ValueError, match="'net'.*'classifier'"):
        check_stages(kerasft.find_stages(dense_model), image_model)


def test_the_order_of_callbacks(tmp_path):
    own, backup = GradualUnfreezing([Phase(0)]), kerasft.BackupAndRestore(tmp_path)
    for fine in ([own, backup], [own], [], [backup]):
        check_callbacks(fine, own, GradualUnfreezing)
    other = keras.callbacks.CSVLogger(tmp_path / "log")
    with pytest.raises(ValueError) as caught:
        check_callbacks([other, backup, own], own, GradualUnfreezing)
    assert str(caught.value).startswith(
        "BackupAndRestore (callbacks[1]) stands before GradualUnfreezing (callbacks[2]) in the list"
    )

    class Mine(keras.callbacks.BackupAndRestore):
        """A user's own."""

    with pytest.raises(ValueError, match=r"^Mine \(callbacks\[0\]\) stands before"):
        check_callbacks([Mine(tmp_path), own], own, GradualUnfreezing)
    several = [own, other, GradualUnfreezing([Phase(0)])]
    with pytest.raises(
        ValueError, match=r"two .*: GradualUnfreezing \(callbacks\[0\]\) and .*\[2\]\)\. Join"
    ):
        check_callbacks(several, own, GradualUnfreezing)


def test_flags_that_changed_are_named(dense_model):
    flags = Flags(dense_model)
    check_flags(flags, "now")
    dense_model.get_layer("second").trainable = False
    with pytest.raises(RuntimeError, match="changed `trainable` in epoch 3: .*'second'.* in the schedule"):
        check_flags(flags, "in epoch 3")
