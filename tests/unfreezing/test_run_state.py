"""A run's state: arrays and back, and the refusal of another run."""

import keras
import numpy as np
import pytest

from kerasft import Phase, UnfreezingSchedule, _keras, find_stages
from kerasft.freezing import kept_frozen
from kerasft.unfreezing.run_state import RunState, resume, run_identity

IDENTITY = {
    "schedule": {"phases": [1, 2]},
    "optimizer": {"class": "Adam", "epsilon": 1e-7, "betas": (0.9, 0.99)},
}


def state(**changes):
    fields = {
        "epoch": 3,
        "inside_epoch": False,
        "clock": {"index": 1, "best": None},
        "rates": {"net/a": 0.5},
        "random": [[1, 2]],
        "identity": IDENTITY,
        "best": {"weight.0": np.ones((2, 2))},
    }
    return RunState(**{**fields, **changes})


def test_arrays_and_back():
    arrays = state().to_arrays()
    assert not any("/" in name for name in arrays)  # HDF5 would make groups of them
    back = RunState.from_arrays(arrays)
    assert (back.epoch, back.clock, back.rates, back.random) == (
        3,
        {"index": 1, "best": None},
        {"net/a": 0.5},
        [[1, 2]],
    )
    np.testing.assert_array_equal(back.best["weight.0"], np.ones((2, 2)))
    back.check_identity(IDENTITY)
    assert RunState.from_arrays({}) is None


def test_another_run_is_refused_by_what_is_different():
    saved = RunState.from_arrays(state().to_arrays())
    other = {**IDENTITY, "optimizer": {**IDENTITY["optimizer"], "epsilon": 0.1}}
    with pytest.raises(ValueError, match="another optimizer: epsilon was 1e-07 and is 0.1. Use what it had"):
        saved.check_identity(other)


def test_a_state_of_another_epoch_is_refused(dense_model):
    saved = RunState.from_arrays(state().to_arrays())
    with pytest.raises(ValueError, match="those after 3 epochs, but fit begins at epoch 2"):
        resume(dense_model, None, saved, IDENTITY, epoch=2)


def test_outside_of_fit_the_data_can_not_be_replayed(dense_model, caplog):
    saved = state(random=_keras.random_state(dense_model), inside_epoch=True)
    inside = RunState.from_arrays(saved.to_arrays())
    resume(dense_model, None, inside, IDENTITY, epoch=3)
    assert "made inside epoch 3" in caplog.text and "could not be replayed" in caplog.text


def test_weights_of_lora_come_back_as_they_were(dense_model):
    dense_model.get_layer("second").enable_lora(2)
    layer = dense_model.get_layer("second")
    layer.lora_kernel_b.assign(np.ones((2, 5)))
    saved = state(random=_keras.random_state(dense_model), lora=_keras.lora_values(dense_model))
    before = [w.numpy() for w in dense_model.weights]
    layer.lora_kernel_a.assign(np.zeros((6, 2)))  # what loading a weights file does
    layer._kernel.assign_add(np.ones((6, 5)))
    resume(dense_model, None, RunState.from_arrays(saved.to_arrays()), IDENTITY, epoch=3)
    assert all(np.array_equal(a, b) for a, b in zip(before, dense_model.weights, strict=True))
    older = RunState.from_arrays(state(random=saved.random).to_arrays())  # of an older version
    resume(dense_model, None, older, IDENTITY, epoch=3)
    assert all(np.array_equal(a, b) for a, b in zip(before, dense_model.weights, strict=True))


def test_the_identity_of_a_run(dense_model):
    dense_model.compile(keras.optimizers.SGD(0.1, momentum=0.5), "mse")
    schedule = UnfreezingSchedule([Phase("top", 1), Phase(0)])
    stages = find_stages(dense_model)
    factors = [{"net/first/kernel": 0.5}, None]
    identity = run_identity(schedule, "train", stages, kept_frozen(stages), dense_model.optimizer, factors)
    assert identity["kept_frozen"] == []
    phases = [{"depth": 2, "epochs": 1, "multipliers": [0.5]}, {"depth": 0}]
    assert identity["schedule"] == {"phases": phases}
    assert (identity["batch_norm"], identity["division into stages"]) == (
        "train",
        [30, 35, 18],
    )  # 4·6+6, 6·5+5, 5·3+3
    assert identity["optimizer"]["class"] == "SGD" and identity["optimizer"]["momentum"] == 0.5
    arguments = schedule, "train", stages, kept_frozen(stages), dense_model.optimizer, factors
    with pytest.raises(ValueError, match='another dropout: it was null and is "inference"'):
        state(identity=identity).check_identity(run_identity(*arguments, "inference"))
    earlier = {name: value for name, value in identity.items() if name != "dropout"}  # knew of no policy
    state(identity=earlier).check_identity(run_identity(*arguments, "inference"))


def test_names_are_no_part_of_it_unless_an_earlier_version_knew_nothing_else(dense_model):
    def identity(names, depth):
        phases = {"schedule": {"phases": [{"depth": depth}]}, "division into stages": [30, 18]}
        return {**phases, "names": {"schedule": {"phases": [{"depth": names[depth]}]}, "stages": names}}

    saved = RunState.from_arrays(state(identity=identity(["dense", "dense_1"], 1)).to_arrays())
    saved.check_identity(identity(["dense_2", "dense_3"], 1))
    with pytest.raises(ValueError, match=r"another schedule: phases\[0\].depth was 1 and is 0"):
        saved.check_identity(identity(["dense", "dense_1"], 0))
    earlier = state(identity=identity(["dense", "dense_1"], 1)["names"])
    earlier.check_identity(identity(["dense", "dense_1"], 1))
    with pytest.raises(ValueError, match=r'another schedule: .* was "dense_1" and is "dense_3"'):
        earlier.check_identity(identity(["dense_2", "dense_3"], 1))
