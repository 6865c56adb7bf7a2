"""What becomes of a search when a trial fails."""

import errno

import h5py
import keras
import numpy as np
import pytest
from keras_tuner import errors
from small_searches import FIXED, build_model, grid, searched

from kerasft import FreezeDepthSearch


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

    monkeypatch.setattr(h5py, "File", full)
    search = FreezeDepthSearch(build_model, [2], ["frozen_head"], **FIXED)
    with pytest.raises(errors.FatalRuntimeError, match=r"no room left.*Make room.*the same program"):
        searched(grid(search, tmp_path))
    monkeypatch.undo()
    tuner = searched(grid(search, tmp_path))  # the same program, once there is room
    assert [r.status for r in search.results(tuner)] == ["completed"]
