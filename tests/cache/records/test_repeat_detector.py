"""A source is told by what it has shown, and not by more."""

import numpy as np
import pytest

from kerasft.cache.records.repeat_detector import Passes
from kerasft.cache.records.sample_index import Index
from kerasft.cache.records.table import StorageError


def go(passes, index, epoch, *batches):
    """One epoch of a source, its samples named by numbers."""
    passes.begin(epoch)
    for batch in batches:
        passes.see(*index.find(np.array(batch, np.uint64)))
    passes.end(len(index))


def order(passes, epoch):
    return [batch.tolist() for batch in passes.order.epoch(epoch)]


def test_arrays_are_told_after_one_epoch():
    passes, index = Passes(True, 1, 0), Index()
    passes.repeats = passes.ordered = True
    go(passes, index, 0, [5, 6], [7])
    assert passes.closed and not passes.compares and order(passes, 1) == order(passes, 2) == [[0, 1], [2]]
    passes = Passes(True, 1, 0)
    passes.repeats = True  # but they are shuffled
    go(passes, Index(), 0, range(30), range(30, 60))
    assert order(passes, 1) != order(passes, 2)
    assert sorted(n for batch in order(passes, 1) for n in batch) == list(range(60))


def test_another_source_is_told_after_an_epoch_without_news():
    passes, index = Passes(True, 1, 0), Index()
    go(passes, index, 0, [5, 6], [7])
    assert not passes.closed and passes.order is None
    go(passes, index, 1, [5, 6], [7])
    assert passes.closed and order(passes, 2) == [[0, 1], [2]]
    passes.begin(2)
    with pytest.raises(StorageError, match="1 of 2 samples in epoch 2 .* the source has changed"):
        passes.see(*index.find(np.array([5, 8], np.uint64)))


def test_without_comparison_the_first_batch_tells_the_order():
    for first, kept in (([0, 1], True), ([1, 0], False), (None, False)):
        passes = Passes(False, 1, 0)
        go(passes, Index(), 0, [5, 6], [7])
        assert passes.closed and passes.order is None
        passes.begin(1)
        passes.meet(None if first is None else np.array(first), 3)
        assert (passes.order.seed is None) == kept


def test_news_without_end():
    passes, index = Passes(True, 1, 0), Index()
    go(passes, index, 0, range(8))
    with pytest.raises(StorageError, match="8 of the 8 samples of epoch 1 .* the source augments"):
        go(passes, index, 1, range(8, 16))
    passes, index = Passes(True, 1, 0), Index()
    with pytest.raises(StorageError, match="8 of the 8 samples of epoch 1"):
        for epoch in range(2):
            go(passes, index, epoch, *np.arange(8).reshape(4, 2) + 8 * epoch, [1])
    assert len(passes.batches) == 4  # it did not wait for the end of the epoch
    passes, index = Passes(True, 1, 0), Index()
    with pytest.raises(StorageError, match="1 of the 20 samples of epoch 3"):
        for epoch in range(5):
            go(passes, index, epoch, [*range(19), 100 + epoch])


def test_epochs_of_other_lengths():
    passes, index = Passes(True, 1, 0), Index()
    go(passes, index, 0, [1], [2], [3])
    with pytest.raises(StorageError, match="Epoch 1 had 2 batches, and the one before it 3"):
        go(passes, index, 1, [1], [2])


def test_a_part_of_an_epoch_says_nothing():
    passes, index = Passes(True, 1, 0), Index()
    go(passes, index, 0, [1], [2])
    passes.begin(1)
    passes.see(*index.find(np.array([1], np.uint64)))
    passes.break_off()
    assert (passes.count, passes.log, passes.batches) == (0, [], [])
    go(passes, index, 2, [1], [2])
    assert passes.closed and passes.order is None  # one whole epoch without news, since the samples are known


def test_views():
    passes, index = Passes(True, 2, 0), Index()
    go(passes, index, 0, [1, 2])
    assert not passes.closed
    go(passes, index, 1, [3, 4])
    assert passes.closed and not passes.compares
    assert sorted(order(passes, 2)[0]) == [0, 1] and sorted(order(passes, 3)[0]) == [2, 3]


def test_an_epoch_for_another_cut_changes_nothing():
    passes, index = Passes(True, 1, 0), Index()
    for epoch in range(2):
        go(passes, index, epoch, [1, 2])
    settled = passes.order
    go(passes, index, 2, [2], [1])
    assert passes.order is settled and passes.count == 2


def test_a_run_that_is_resumed_goes_on_where_it_stood():
    passes, index = Passes(True, 1, 3), Index()
    for epoch in range(2):
        go(passes, index, epoch, *np.random.default_rng(epoch).permutation(8).reshape(2, 4))
    again = Passes(True, 1, 9)
    again.begin(2)
    again.resume(passes.log, passes.count, passes.order)
    assert again.closed and order(again, 4) == order(passes, 4)
    early = Passes(True, 1, 3)
    early.begin(1)
    early.resume(passes.log[:2], 1, passes.order)  # it was settled later
    assert not early.closed and early.order is None and early.count == 1


def test_an_order_of_an_earlier_run_is_taken_if_it_fits():
    passes, index = Passes(True, 1, 3), Index()
    for epoch in range(2):
        go(passes, index, epoch, *np.random.default_rng(epoch).permutation(8).reshape(2, 4))
    for sizes, taken in ((2, True), (4, False)):
        other, index = Passes(True, 1, 9), Index()
        other.wanted_order = passes.order
        for epoch in range(2):
            go(other, index, epoch, *np.random.default_rng(epoch).permutation(8).reshape(sizes, -1))
        assert (other.order is passes.order) == taken
