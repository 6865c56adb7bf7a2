"""A run's state: arrays and back, and the refusal of another run."""

import numpy as np
import pytest

from kerasft.unfreezing.run_state import RunState

IDENTITY = {
    "schedule": {"phases": [1, 2]},
    "optimizer": {"class": "Adam", "epsilon": 1e-7, "betas": (0.9, 0.99)},
}


def state(**changes):
    said = {
        "epoch": 3,
        "inside_epoch": False,
        "clock": {"index": 1, "best": None},
        "rates": {"net/a": 0.5},
        "random": [[1, 2]],
        "identity": IDENTITY,
        "best": {"weight.0": np.ones((2, 2))},
    }
    return RunState(**{**said, **changes})


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
    with pytest.raises(
        ValueError, match=r'another optimizer.*had {"epsilon": 1e-07}; now it is {"epsilon": 0.1}'
    ):
        saved.check_identity(other)
