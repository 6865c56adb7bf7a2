"""Runs with a cache that are killed at any instant end at the weights of the run that was not, to the bit."""

import random

import forked
import keras
import killed_cache
import numpy as np
import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("storage", "source", "order"),
    [("memory", "arrays", "0123"), ("older", "dataset", "2013"), ("kept", "repeated", "0213")],
)
def test_killed_runs_end_at_the_same_weights(tmp_path, storage, source, order, monkeypatch):
    """Each is killed twice; `order` is where the cache stands among the callbacks."""
    monkeypatch.setenv("CALLBACK_ORDER", order)
    whole = killed_cache.weights_of(forked, tmp_path / "whole", storage, source)
    draw, folder = random.Random(storage), tmp_path / "killed"
    folder.mkdir()
    for _ in range(2):
        process = forked.start(
            "killed_cache.py",
            folder,
            storage,
            source,
            folder=folder,
            SECONDS_PER_STEP="0.1",
            CALLBACK_ORDER=order,
        )
        killed_cache.kill(process, folder, draw.uniform(0.3, 2.2))
    assert not (folder / "weights.npz").exists()
    for a, b in zip(whole, killed_cache.weights_of(forked, folder, storage, source), strict=True):
        np.testing.assert_array_equal(a, b)


class StopError(Exception):
    """What ends a run in this process, as a kill would."""


class StopAt(killed_cache.Slow):
    """Raises in an epoch."""

    def __init__(self, folder, seconds):
        super().__init__(folder, seconds)
        self.stopped = folder / "stopped"

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.now == 4 and batch == 1 and not self.stopped.exists():
            self.stopped.touch()
            raise StopError


def test_keras_own_backup_and_a_depth_that_comes_back(tmp_path, monkeypatch):
    """In epoch 4 what lies before the head is read again, as the layers before it trained."""
    whole = killed_cache.train(tmp_path, "memory", "dataset", keras_backup=True)
    monkeypatch.setattr(killed_cache, "Slow", StopAt)
    keras.backend.clear_session()
    with pytest.raises(StopError):
        killed_cache.train(tmp_path, "memory", "dataset", keras_backup=True)
    found = killed_cache.train(tmp_path, "memory", "dataset", keras_backup=True)
    for a, b in zip(whole, found, strict=True):
        np.testing.assert_array_equal(a, b)
