"""Batches come in order, whether they were looked at before or not."""

from kerasft.cache.batch_queue import BatchQueue


def test_a_batch_that_was_looked_at_is_the_next_one():
    batches = BatchQueue(iter("abcdef"))
    assert not batches.is_ahead
    assert batches.peek() == batches.peek() == "a" and batches.is_ahead
    assert batches.take() == "a" and not batches.is_ahead
    batches.put_back("a")
    assert batches.take_up_to(2) == ["a", "b"] and not batches.is_ahead
    assert batches.peek() == "c" and batches.given == 3
    assert batches.take_up_to(9) == ["c", "d", "e", "f"] and batches.given == 6
    assert batches.peek() is None and batches.take() is None and batches.take_up_to(1) == []
