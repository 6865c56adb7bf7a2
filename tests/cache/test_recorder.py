"""Epochs are drawn from the record when the source has shown that it repeats, and not before."""

import numpy as np
import pytest
import tensorflow as tf
from step_bench import Bench, rows

from kerasft.cache import recorder
from kerasft.cache.divided_model import DividedModel


def test_read_compare_replay():
    bench = Bench()
    assert [bench.epoch(i, rows(5)) for i in range(4)] == [3, 3, 3, 3]
    assert bench.source.replays and len(bench.source.records.recorder.recording) == 5 and not bench.reasons
    assert bench.model.optimizer.iterations == 12 and bench.stock_steps == 0


def test_arrays_need_no_comparison():
    bench = Bench(repeats=True)
    bench.epoch(0, rows(4))
    bench.epoch(1, rows(4))
    assert bench.source.replays


def test_a_replay_begins_with_a_look_at_the_source():
    bench = Bench()
    for i in range(3):
        bench.epoch(i, rows(4))
    assert bench.source.replays
    assert bench.epoch(3, rows(4, 100)) == 2  # Keras's own function takes the steps
    assert bench.stock_steps >= 2 and "2 of 2 samples in epoch 3" in bench.reasons[0]


def test_a_source_that_is_slow_to_begin_is_looked_at_more_seldom(monkeypatch):
    bench = Bench()
    for i in range(3):
        bench.epoch(i, rows(4))
    looks = []
    look = DividedModel.fingerprints
    monkeypatch.setattr(
        DividedModel, "fingerprints", lambda self, batch: looks.append(1) or look(self, batch)
    )
    monkeypatch.setattr(recorder, "COMPARE_SECONDS", -1.0)
    for i in range(3, 12):
        bench.epoch(i, rows(4))
    assert len(looks) == 4  # epochs 3, 4, 6 and 10: turns 1, 2, 4, 8


def test_new_samples_are_added_until_nothing_is_new():
    bench = Bench()
    for i in range(4):
        bench.epoch(i, rows(8) if i else rows(6))
    assert bench.source.replays and len(bench.source.records.recorder.recording) == 8 and not bench.reasons


def test_many_new_samples_end_it_in_the_middle_of_an_epoch():
    bench = Bench()
    bench.epoch(0, rows(16))
    assert bench.epoch(1, rows(16, 1000)) == 8
    assert bench.model.optimizer.iterations == 8 + 3 and bench.stock_steps > 4
    assert "8 of the 8 samples of epoch 1 had not been seen before" in bench.reasons[0]


def test_an_epoch_that_was_broken_off_does_not_count():
    bench = Bench(repeats=True)
    source = bench.source
    iterator = iter(tf.data.Dataset.from_tensor_slices((rows(4), np.zeros((4, 2), "float32"))).batch(2))
    source.begin_epoch(0)
    source(iterator)
    source.end_epoch(whole=False)
    bench.epoch(1, rows(4))
    assert not source.replays
    bench.epoch(2, rows(4))
    assert source.replays and len(source.records.recorder.recording) == 4


@pytest.mark.parametrize("first_epoch", [1, 2, 3])
def test_a_run_that_is_resumed_goes_on_in_the_same_order(first_epoch):
    """The third epoch is the first replay: a run that is resumed before it watches the source go by."""

    def shuffled(epoch):
        return rows(6)[np.random.default_rng(epoch).permutation(6)]

    whole = Bench()
    weights = []
    for i in range(5):
        weights.append(whole.model.get_weights())
        whole.epoch(i, shuffled(i))
    resumed = Bench(seed=9)
    resumed.source.records.recorder.resume(0)
    for i in range(first_epoch):
        resumed.watch(i, shuffled(i))
    assert int(resumed.model.optimizer.iterations) == 0  # nothing was trained
    resumed.model.set_weights(weights[first_epoch])
    for i in range(first_epoch, 5):
        resumed.epoch(i, shuffled(i))
    for a, b in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert resumed.source.replays


def test_a_record_that_is_begun_anew_takes_no_room():
    bench = Bench(views=2)
    bench.epoch(0, rows(6))
    taken = bench.store.nbytes
    bench.source.forget()
    assert taken > 0 and bench.store.nbytes == 0
