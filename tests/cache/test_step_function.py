"""A source reads and records, or replays; tests of its own that need no `fit`."""

import itertools
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasft import _keras
from kerasft.cache.cuts.cut import NoCutError
from kerasft.cache.cuts.find import find_cut
from kerasft.cache.records.storage import Storage
from kerasft.cache.step_function import CachedStepFunction
from kerasft.cache.step_plan import StepPlan, StepSettings


class Bench:
    """A source beside a model, with what a callback would tell it."""

    def __init__(self, repeats=False, ahead=True, folder=None, first_epoch=0, **settings):
        keras.utils.set_random_seed(0)
        self.model = keras.Sequential(
            [keras.Input((3,)), keras.layers.Dense(4, trainable=False), keras.layers.Dense(2)]
        )
        self.model.compile("sgd", "mse")
        self.reasons = []
        program = _keras.program(self.model)
        plan = StepPlan(
            lambda nondeterministic: [find_cut(program, nondeterministic)],
            set(),
            [],
            repeats,
            False,
            ahead,
            first_epoch,
            1,
        )
        given = {
            "training": True,
            "dtype": "float32",
            "verify": True,
            "views": 1,
            "seed": 0,
            "folder": folder,
        }
        self.source = CachedStepFunction(
            self.model,
            StepSettings(**given | settings),
            Storage(None, 10**6, spill=False),
            lambda: plan,
            lambda reason, for_good: self.reasons.append(reason),
            lambda: True,
        )
        self.source.stock = self.stock
        self.stock_steps = 0

    def stock(self, iterator):
        self.stock_steps += 1
        if next(iter(iterator), None) is None:
            raise StopIteration
        return {}

    def epoch(self, number, x, batch=2):
        """Train on `x` for one epoch; returns how many steps it took."""
        rows = tf.data.Dataset.from_tensor_slices((x, np.zeros((len(x), 2), "float32"))).batch(batch)
        iterator, steps = iter(rows), 0
        self.source.begin_epoch(number)
        while True:
            try:
                self.source(iterator)
            except StopIteration:
                break
            steps += 1
        self.source.end_epoch(whole=True)
        return steps


def rows(count, start=0):
    return np.arange(3 * count, dtype="float32").reshape(count, 3) + start


def test_read_compare_replay():
    bench = Bench()
    assert [bench.epoch(i, rows(5)) for i in range(4)] == [3, 3, 3, 3]
    assert bench.source.replays and bench.source.samples == 5 and not bench.reasons
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
    identify = bench.source._identify
    monkeypatch.setattr(bench.source, "_identify", lambda batch: looks.append(1) or identify(batch))
    monkeypatch.setattr("kerasft.cache.step_function.COMPARE_SECONDS", -1.0)
    for i in range(3, 12):
        bench.epoch(i, rows(4))
    assert len(looks) == 4  # epochs 3, 4, 6 and 10: turns 1, 2, 4, 8


def test_new_samples_are_added_until_nothing_is_new():
    bench = Bench()
    for i in range(4):
        bench.epoch(i, rows(8) if i else rows(6))
    assert bench.source.replays and bench.source.samples == 8 and not bench.reasons


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
    assert source.replays and source.samples == 4


def test_steps_ahead_only_where_nobody_looks(monkeypatch):
    from kerasft.cache.cuts import suffix

    calls = []
    steps = suffix.Suffix.steps
    monkeypatch.setattr(
        suffix.Suffix, "steps", lambda self, c, sizes: calls.append(len(sizes)) or steps(self, c, sizes)
    )
    for ahead in (True, False):
        bench = Bench(repeats=True, ahead=ahead)
        for i in range(2):
            bench.epoch(i, rows(6))
    assert calls == [3, 1, 1, 1]


def test_large_rows_go_in_pieces(monkeypatch):
    monkeypatch.setattr(
        "kerasft.cache.step_function.CHUNK_BYTES", 2 * 2 * (4 + 2) * 4
    )  # two batches of two rows
    from kerasft.cache.cuts import suffix

    calls = []
    steps = suffix.Suffix.steps
    monkeypatch.setattr(
        suffix.Suffix, "steps", lambda self, c, sizes: calls.append(len(sizes)) or steps(self, c, sizes)
    )
    bench = Bench(repeats=True)
    for i in range(2):
        assert bench.epoch(i, rows(10)) == 5
    assert calls == [2, 2, 1]


def test_other_iterators_go_to_keras():
    bench = Bench()
    bench.source(iter([(rows(2), np.zeros((2, 2)))]))
    assert bench.stock_steps == 1 and bench.source.samples == 0


@pytest.mark.parametrize("first_epoch", [0, 1, 2, 3])
def test_a_run_that_is_resumed_goes_on_in_the_same_order(tmp_path, first_epoch):
    """The third epoch is the first replay: a run that is resumed before it passes the source by again."""

    def shuffled(epoch):
        return rows(6)[np.random.default_rng(epoch).permutation(6)]

    whole = Bench(folder=tmp_path / "a")
    weights = []
    for i in range(5):
        weights.append((whole.model.get_weights(), int(whole.model.optimizer.iterations)))
        whole.epoch(i, shuffled(i))
    killed = Bench(folder=tmp_path / "b")
    for i in range(first_epoch):
        killed.epoch(i, shuffled(i))
    resumed = Bench(folder=tmp_path / "b", first_epoch=first_epoch, seed=9 if first_epoch > 1 else 0)
    resumed.model.set_weights(weights[first_epoch][0])
    for i in range(first_epoch, 5):
        resumed.epoch(i, shuffled(i))
    for a, b in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert resumed.source.replays


def test_a_depth_without_a_cut_leaves_nothing_behind(monkeypatch):
    """That there is none shows in the middle of a step; the next depth has one, and gets all samples."""
    from kerasft.cache import step_function as source

    trace = source.trace_prefix

    def fail(*given):
        raise NoCutError("There is none.")

    bench = Bench(repeats=True)
    monkeypatch.setattr(source, "trace_prefix", fail)
    assert bench.epoch(0, rows(6)) == 3 and bench.reasons == ["There is none."]
    monkeypatch.setattr(source, "trace_prefix", trace)
    bench.source.retrace()
    for epoch in (1, 2):
        before = int(bench.model.optimizer.iterations)
        assert bench.epoch(epoch, rows(6)) == 3
        assert int(bench.model.optimizer.iterations) - before == 3
    assert bench.source.replays and bench.source.samples == 6


def test_a_record_that_is_begun_anew_takes_no_room():
    bench = Bench(views=2)
    bench.epoch(0, rows(6))
    taken = bench.source.store.nbytes
    bench.source.forget()
    assert taken > 0 and bench.source.store.nbytes == 0


def test_what_was_spared_is_what_the_prefix_took(monkeypatch):
    """Each look at the clock is a second later, so the prefix takes a second for two samples."""
    clock = itertools.count()
    monkeypatch.setattr(
        "kerasft.cache.step_function.time", types.SimpleNamespace(perf_counter=lambda: next(clock))
    )
    bench = Bench(repeats=True)
    bench.epoch(0, rows(6))
    assert bench.source.seconds_spared == 0
    for epoch in (1, 2):
        bench.epoch(epoch, rows(6))
    assert bench.source.replays and bench.source.seconds_spared == pytest.approx(2 * 6 / 2)
    compared = Bench()
    for epoch in range(2):
        compared.epoch(epoch, rows(6))
    assert not compared.source.replays and compared.source.seconds_spared == pytest.approx(6 / 2)
