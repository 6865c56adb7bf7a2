"""Runs with a cache that are killed at any instant end at the weights of the run that was not, to the bit."""

import random

import forked
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
            SECONDS_PER_STEP="0.02",
            CALLBACK_ORDER=order,
        )
        killed_cache.kill(process, folder, draw.uniform(0.5, 4))
    assert not (folder / "weights.npz").exists()
    for a, b in zip(whole, killed_cache.weights_of(forked, folder, storage, source), strict=True):
        np.testing.assert_array_equal(a, b)
