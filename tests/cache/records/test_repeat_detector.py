"""A source is told by what it has shown, and not by more."""

import numpy as np
import pytest

from kerasft.cache.records.repeat_detector import RepeatDetector
from kerasft.cache.records.sample_index import SampleIndex
from kerasft.cache.records.table import StorageError


def go(detector, index, epoch, *batches):
    """One epoch of a source, its samples named by numbers."""
    detector.begin(epoch)
    for batch in batches:
        detector.see(*index.find(np.array(batch, np.uint64)))
    detector.end(index.fingerprints())


def order(detector, epoch):
    return [batch.tolist() for batch in detector.order.epoch(epoch)]


def test_arrays_are_told_after_one_epoch():
    detector, index = RepeatDetector(True, 1, 0), SampleIndex()
    detector.repeats = detector.ordered = True
    go(detector, index, 0, [5, 6], [7])
    assert (
        detector.closed
        and not detector.compares
        and order(detector, 1) == order(detector, 2) == [[0, 1], [2]]
    )
    detector = RepeatDetector(True, 1, 0)
    detector.repeats = True  # but they are shuffled
    go(detector, SampleIndex(), 0, range(30), range(30, 60))
    assert order(detector, 1) != order(detector, 2)
    assert sorted(n for batch in order(detector, 1) for n in batch) == list(range(60))


def test_another_source_is_told_after_an_epoch_without_news():
    detector, index = RepeatDetector(True, 1, 0), SampleIndex()
    go(detector, index, 0, [5, 6], [7])
    assert not detector.closed and detector.order is None
    go(detector, index, 1, [5, 6], [7])
    assert detector.closed and order(detector, 2) == [[0, 1], [2]]
    detector.begin(2)
    with pytest.raises(StorageError, match="1 of 2 samples in epoch 2 .* the source has changed"):
        detector.see(*index.find(np.array([5, 8], np.uint64)))


def test_without_comparison_the_first_batch_tells_the_order():
    for first, kept in (([0, 1], True), ([1, 0], False), (None, False)):
        detector = RepeatDetector(False, 1, 0)
        go(detector, SampleIndex(), 0, [5, 6], [7])
        assert detector.closed and detector.order is None
        detector.begin(1)
        detector.settle_by_first_batch(None if first is None else np.array(first), np.arange(3))
        assert (detector.order.seed is None) == kept


def test_news_without_end():
    detector, index = RepeatDetector(True, 1, 0), SampleIndex()
    go(detector, index, 0, range(8))
    with pytest.raises(StorageError, match="8 of the 8 samples of epoch 1 .* the source augments"):
        go(detector, index, 1, range(8, 16))
    detector, index = RepeatDetector(True, 1, 0), SampleIndex()
    with pytest.raises(StorageError, match="8 of the 8 samples of epoch 1"):
        for epoch in range(2):
            go(detector, index, epoch, *np.arange(8).reshape(4, 2) + 8 * epoch, [1])
    assert len(detector.batches) == 4  # it did not wait for the end of the epoch
    detector, index = RepeatDetector(True, 1, 0), SampleIndex()
    with pytest.raises(StorageError, match="1 of the 20 samples of epoch 3"):
        for epoch in range(5):
            go(detector, index, epoch, [*range(19), 100 + epoch])


def test_epochs_of_other_lengths():
    detector, index = RepeatDetector(True, 1, 0), SampleIndex()
    go(detector, index, 0, [1], [2], [3])
    with pytest.raises(StorageError, match="Epoch 1 had 2 batches, and the one before it 3"):
        go(detector, index, 1, [1], [2])


def test_a_part_of_an_epoch_says_nothing():
    detector, index = RepeatDetector(True, 1, 0), SampleIndex()
    go(detector, index, 0, [1], [2])
    detector.begin(1)
    detector.see(*index.find(np.array([1], np.uint64)))
    detector.break_off()
    assert (detector.epochs, detector.log, detector.batches) == ([], [], [])
    go(detector, index, 2, [1], [2])
    assert (
        detector.closed and detector.order is None
    )  # one whole epoch without news, since the samples are known


def test_views():
    detector, index = RepeatDetector(True, 2, 0), SampleIndex()
    go(detector, index, 0, [1, 2])
    assert not detector.closed
    go(detector, index, 1, [3, 4])
    assert detector.closed and not detector.compares
    assert sorted(order(detector, 2)[0]) == [0, 1] and sorted(order(detector, 3)[0]) == [2, 3]


def test_the_epochs_that_were_watched_are_named():
    detector, index = RepeatDetector(True, 1, 0), SampleIndex()
    for epoch in (2, 5):  # the ones between trained without a record
        go(detector, index, epoch, [1, 2])
    assert detector.epochs == [2, 5] and detector.closed


def test_the_order_of_an_epoch_is_the_same_whatever_the_order_of_the_epochs_before():
    found = []
    for seed in (1, 2):
        detector, index = RepeatDetector(True, 1, 3), SampleIndex()
        for epoch in range(2):
            go(detector, index, epoch, *np.random.default_rng([seed, epoch]).permutation(8).reshape(2, 4))
        found.append(index.fingerprints()[np.concatenate(detector.order.epoch(4))].tolist())
    assert found[0] == found[1] and sorted(found[0]) == list(range(8))


def test_an_order_that_is_known_is_adopted():
    detector, index = RepeatDetector(True, 1, 3), SampleIndex()
    for epoch in range(2):
        go(detector, index, epoch, *np.random.default_rng(epoch).permutation(8).reshape(2, 4))
    other = RepeatDetector(True, 1, 9)
    other.adopt(detector.order)
    assert other.closed and order(other, 4) == order(detector, 4)
