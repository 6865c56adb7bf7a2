"""What is missing at a cut is recorded from the source, and the order of the steps stays what it was."""

import numpy as np
import pytest
from step_bench import Bench, data, rows

from kerasft.cache.batch_queue import BatchQueue
from kerasft.cache.records.table import StorageError


@pytest.fixture
def records():
    """Six samples that were seen, whose values at the cut are gone."""
    bench = Bench()
    for epoch in range(2):
        bench.epoch(epoch, rows(6))
    bench.source.records.recorder.recording.forget_all_but([])
    return bench.source.records


def queue(x):
    return BatchQueue(iter(data(x, 2)))


REPLAY = [np.array([4, 5]), np.array([0, 1]), np.array([2, 3])]


def test_the_source_is_read_until_nothing_is_missing(records):
    batches = queue(np.concatenate([rows(6)[::-1], rows(6)]))
    assert not records.is_complete()
    assert records.complete(batches, REPLAY) is REPLAY  # whatever the order in which the source gave them
    assert records.is_complete() and batches.given == 3
    value = records.take(np.array([5]))[0]
    expected = rows(6)[5:] @ records.divided.cut.layers[0].kernel.numpy()
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_a_source_that_gives_a_part_trains_on_that(records):
    found = records.complete(queue(rows(6)[[3, 2, 1, 0]]), REPLAY)
    assert [batch.tolist() for batch in found] == [[3, 2], [1, 0]]


def test_samples_that_were_not_given_before_are_not_taken(records):
    batches = queue(rows(6, 100))
    with pytest.raises(StorageError, match="2 of 2 samples in epoch 1 had not been seen before"):
        records.complete(batches, REPLAY)
    assert len(records.recorder.recording) == 6
    np.testing.assert_array_equal(batches.take()[0], rows(6, 100)[:2])  # it is left for Keras's function


def test_no_room_is_noticed_at_the_first_batch(records):
    records.recorder.recording._store.max_bytes = records.recorder.recording._store.nbytes + 2 * 4 * 4
    batches = queue(rows(6))
    with pytest.raises(StorageError, match="exceeds max_bytes"):
        records.complete(batches, REPLAY)
    assert batches.is_ahead and batches.given == 1
