"""A cached step function takes Keras's steps: from the source, from the record, or by Keras's function."""

import itertools
import types

import numpy as np
import pytest
from step_bench import Bench, rows

from kerasft.cache.cuts.cut import NoCutError
from kerasft.cache.cuts.suffix import Suffix
from kerasft.cache.divided_model import DividedModel


def test_steps_ahead_only_where_nobody_looks(monkeypatch):
    calls = []
    steps = Suffix.steps
    monkeypatch.setattr(
        Suffix, "steps", lambda self, c, sizes: calls.append(len(sizes)) or steps(self, c, sizes)
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
    calls = []
    steps = Suffix.steps
    monkeypatch.setattr(
        Suffix, "steps", lambda self, c, sizes: calls.append(len(sizes)) or steps(self, c, sizes)
    )
    bench = Bench(repeats=True)
    for i in range(2):
        assert bench.epoch(i, rows(10)) == 5
    assert calls == [2, 2, 1]


def test_other_iterators_go_to_keras():
    bench = Bench()
    bench.source(iter([(rows(2), np.zeros((2, 2)))]))
    assert bench.stock_steps == 1 and len(bench.source.records.recorder.recording) == 0


def test_a_depth_without_a_cut_leaves_nothing_behind(monkeypatch):
    """That there is none shows in the middle of a step; the next depth has one, and gets all samples."""

    def fail(*given):
        raise NoCutError("There is none.")

    bench = Bench(repeats=True)
    with monkeypatch.context() as patch:
        patch.setattr(DividedModel, "run_prefix", fail)
        assert bench.epoch(0, rows(6)) == 3 and bench.reasons == ["There is none."]
    bench.source.retrace(bench.plan)
    for epoch in (1, 2):
        before = int(bench.model.optimizer.iterations)
        assert bench.epoch(epoch, rows(6)) == 3
        assert int(bench.model.optimizer.iterations) - before == 3
    assert bench.source.replays and len(bench.source.records.recorder.recording) == 6


def test_what_was_spared_is_what_the_prefix_took(monkeypatch):
    """Each look at the clock is a second later, so the prefix takes a second for two samples."""
    clock = itertools.count()
    monkeypatch.setattr(
        "kerasft.cache.divided_model.time", types.SimpleNamespace(perf_counter=lambda: next(clock))
    )
    bench = Bench(repeats=True)
    bench.epoch(0, rows(6))
    assert bench.source.records.seconds_spared == 0
    for epoch in (1, 2):
        bench.epoch(epoch, rows(6))
    assert bench.source.replays and bench.source.records.seconds_spared == pytest.approx(2 * 6 / 2)
    compared = Bench()
    for epoch in range(2):
        compared.epoch(epoch, rows(6))
    assert not compared.source.replays and compared.source.records.seconds_spared == pytest.approx(6 / 2)
