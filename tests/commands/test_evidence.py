"""What a job stores while it runs, and goes on with when it is resumed."""

import json

import keras
import numpy as np
import pytest

import kerasft
from kerasft import GradualUnfreezing, Phase, UnfreezingSchedule
from kerasft.commands.evidence import EpochEvidence, Evidence, planned
from kerasft.commands.workspace import Workspace

X, Y = np.random.default_rng(0).normal(size=(12, 4)).astype("float32"), np.zeros(12, int)


def workspace(tmp_path, resumed):
    for name in ("results", "state", "scratch"):
        (tmp_path / name).mkdir(exist_ok=True)
    return Workspace(*(tmp_path / name for name in ("results", "state", "scratch")), resumed)


def fitted(model, work, epochs=3, initial_epoch=0):
    """Evidence after a fit of some epochs: the top alone, then all at a rate that falls to zero."""
    stages = kerasft.find_stages(model)
    falling = keras.optimizers.schedules.PolynomialDecay(0.1, 6, 0.0)
    schedule = UnfreezingSchedule([Phase("top", 1), Phase("second", learning_rate=falling, warmup_steps=2)])
    optimizer = kerasft.with_lr_multipliers(keras.optimizers.SGD(0.5), kerasft.layerwise_decay(stages, 0.5))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss)
    evidence = Evidence(work)
    evidence.add(**planned(schedule, stages))
    callbacks = [GradualUnfreezing(schedule), EpochEvidence(evidence, stages, work)]
    model.fit(X, Y, 4, epochs, verbose=0, callbacks=callbacks, initial_epoch=initial_epoch)
    return evidence


def test_each_epoch_has_its_rates_and_distances(dense_model, tmp_path):
    before = [w.copy() for w in dense_model.get_weights()]
    evidence = fitted(dense_model, workspace(tmp_path, False))
    stored = json.loads((tmp_path / "state" / "evidence.json").read_text())
    assert stored == {"version": 1, **evidence.sections}
    assert [p["from"] for p in stored["phases"]] == ["top", "second"]
    assert [p["learning_rate"] for p in stored["phases"]] == [None, "PolynomialDecay"]
    assert (stored["optimizer"]["class"], stored["loss"]) == ("SGD", "SparseCategoricalCrossentropy")
    # three steps an epoch: epoch 2 warms up, and ends at 0.1 * (1 - 3 / 6), where epoch 3 begins
    expected = [[0, 0, 0.5], [0, 0.025, 0.05], [0, 0.025, 0.05]]
    np.testing.assert_allclose([row["rates"] for row in stored["epochs"]], expected, atol=1e-6)
    after = dense_model.get_weights()
    for place in range(3):
        pair = [np.concatenate([w.ravel() for w in ws[2 * place : 2 * place + 2]]) for ws in (before, after)]
        expected = np.linalg.norm(pair[1] - pair[0]) / np.linalg.norm(pair[0])
        assert stored["moved"][place] == pytest.approx(expected, rel=1e-5)
    assert stored["moved"][0] == 0 < stored["moved"][1] and stored["epochs"][0]["distance"][1] == 0
    evidence.finish(tmp_path / "results")
    assert json.loads((tmp_path / "results" / "evidence.json").read_text()) == stored


def test_a_resumed_job_counts_from_the_weights_at_its_beginning(dense_model, tmp_path):
    fitted(dense_model, workspace(tmp_path, False), epochs=2)
    first = json.loads((tmp_path / "state" / "evidence.json").read_text())["epochs"]
    evidence = fitted(dense_model, workspace(tmp_path, True), epochs=2, initial_epoch=1)  # epoch 1 again
    rows = evidence.sections["epochs"]
    assert len(rows) == 2 and rows[0] == first[0]
    assert rows[1]["distance"][2] != first[1]["distance"][2] > 0  # of the same w0, further on


def test_a_job_that_an_earlier_version_began_has_no_distances(dense_model, tmp_path):
    evidence = fitted(dense_model, workspace(tmp_path, True))
    assert evidence.sections["moved"] is None and evidence.sections["epochs"][0]["distance"] is None
    assert evidence.sections["epochs"][0]["rates"] == [0, 0, 0.5]


def test_weights_that_began_at_zero_have_no_relative_distance(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="second")])
    model.add(keras.layers.Dense(2, kernel_initializer="zeros", name="top"))
    moved = fitted(model, workspace(tmp_path, False)).sections["moved"]
    assert moved[-1] is None and moved[0] > 0
