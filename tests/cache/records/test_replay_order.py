"""Samples are told apart, and come in the order of their source or in a fresh one."""

import itertools
import json

import numpy as np
import pytest

from kerasft.cache.records.replay_order import ReplayOrder, infer_order
from kerasft.cache.records.sample_index import SampleIndex


def test_samples_are_numbered_as_they_come():
    index = SampleIndex()
    rows, new = index.find(np.array([50, 70, 50, 20], np.uint64))
    assert rows.tolist() == [0, 1, 0, 2] and new.tolist() == [True, True, False, True]
    rows, new = index.find(np.array([20, 2**64 - 1], np.uint64))
    assert rows.tolist() == [2, 3] and new.tolist() == [False, True]
    assert 70 in index and 71 not in index and len(index) == 4
    assert index.fingerprints().tolist() == [50, 70, 20, 2**64 - 1]


def test_the_name_of_a_set_of_samples_does_not_depend_on_their_order():
    one, two, other = SampleIndex(), SampleIndex(), SampleIndex()
    one.find(np.array([5, 6, 7], np.uint64))
    two.find(np.array([7, 5, 6], np.uint64))
    other.find(np.array([7, 5, 8], np.uint64))
    assert one.digest() == two.digest() != other.digest()


def batches(*rows):
    return [np.array(r) for r in rows]


def epoch(order, number):
    return [b.tolist() for b in order.epoch(number)]


def flat(found):
    return list(itertools.chain(*found))


def test_a_source_in_order_stays_in_order():
    log = batches([0, 1], [2, 3], [4])
    order = infer_order(log * 2, 3, np.arange(5), 0, 2)
    assert order.seed is None
    assert epoch(order, 2) == epoch(order, 9) == [[0, 1], [2, 3], [4]]


def test_an_order_that_wraps_around_goes_on_where_it_stopped():
    # five samples in batches of two, three epochs of two batches of the repeated source
    log = batches([0, 1], [2, 3], [4], [0, 1], [2, 3], [4])
    order = infer_order(log, 2, np.arange(5), 0, 3)
    assert epoch(order, 3) == [[0, 1], [2, 3]]
    assert epoch(order, 4) == [[4], [0, 1]]
    assert epoch(order, 5) == [[2, 3], [4]]


def test_a_shuffled_source_is_shuffled_anew_in_each_epoch():
    log = batches([0, 1], [2, 3], [4], [3, 0], [1, 4], [2])
    order = infer_order(log, 3, np.arange(5), 7, 2)
    assert order.seed == 7
    for number in range(2, 6):
        found = epoch(order, number)
        assert [len(b) for b in found] == [2, 2, 1]
        assert sorted(flat(found)) == [0, 1, 2, 3, 4]
    assert epoch(order, 2) != epoch(order, 3)
    again, other = (infer_order(log, 3, np.arange(5), seed, 2) for seed in (7, 8))
    assert epoch(order, 2) == epoch(again, 2) != epoch(other, 2)


def test_single_samples_do_not_make_a_cycle_by_chance():
    log = batches(*[[i] for i in (0, 1, 2, 3, 3, 1, 2, 0)])  # begins and ends with 0
    assert infer_order(log, 4, np.arange(4), 0, 2).seed == 0


def test_samples_that_the_last_epoch_left_out_come_too():
    log = batches([0, 1], [2, 3], [4, 0], [1, 2])
    order = infer_order(log, 2, np.arange(6), 0, 2)
    seen = {row for number in range(2, 40) for batch in epoch(order, number) for row in batch}
    assert seen == set(range(6))
    assert all(len(flat(epoch(order, n))) == 4 for n in range(2, 10))


def test_repeated_samples_come_as_often_as_in_the_source():
    log = batches([0, 0], [1, 2], [1, 0], [2, 0])
    assert sorted(flat(epoch(infer_order(log, 2, np.arange(3), 0, 2), 2))) == [0, 0, 1, 2]


def test_views_come_in_turn():
    log = batches([0, 1], [2], [3, 4], [5])
    order = infer_order(log, 2, np.arange(6), 0, 2, views=2)
    assert sorted(flat(epoch(order, 2))) == [0, 1, 2]
    assert sorted(flat(epoch(order, 3))) == [3, 4, 5]
    assert sorted(flat(epoch(order, 4))) == [0, 1, 2]


@pytest.mark.parametrize("twice", [True, False])
def test_an_order_goes_through_json(twice):
    log = batches([0, 1], [2, 3], [4])
    order = infer_order(log * 2 if twice else log, 3, np.arange(5), 3, 1)
    again = ReplayOrder.from_dict(json.loads(json.dumps(order.to_dict())))
    assert epoch(order, 4) == epoch(again, 4)
