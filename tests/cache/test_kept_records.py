"""Kept records give values of samples that are known, and nothing else."""

import types

import numpy as np

from kerasft.cache.kept_records import KeptRecords
from kerasft.cache.records.record_files import SavedRecord
from kerasft.cache.records.replay_order import infer_order
from kerasft.cache.records.sample_index import SampleIndex
from kerasft.cache.records.table import Table


def record(names, extra_inputs=(), masked=False, settled=True):
    """A record whose values are twice the names of its samples, its inputs ten times; in another order."""
    index, values, others = SampleIndex(), Table(), Table()
    names = np.array(names)
    index.find(names.astype(np.uint64))
    mask = [names[::-1] > 5] if masked else []
    values.append([2.0 * names[::-1], *mask])
    others.append([*(10.0 * names * n for n in extra_inputs), names])
    order = infer_order([np.arange(len(names))] * 2, 1, index.fingerprints(), 0, 2) if settled else None
    return SavedRecord(index, values, others, np.arange(len(names))[::-1], extra_inputs, order, (masked,))


def cut(position, *extra_inputs):
    return types.SimpleNamespace(position=position, extra_inputs=extra_inputs)


def fingerprints(*names):
    return np.array(names, np.uint64)


def test_all_of_a_batch_or_nothing():
    deep, low, kept = cut(5, 1), cut(2), KeptRecords()
    kept.put(deep, record([4, 6, 8], (1, 3), masked=True))
    assert kept.look_up([deep, low], fingerprints(4)) is None  # there is none for the other cut
    kept.put(low, record([8, 4, 6]))
    values, inputs = kept.look_up([deep, low], fingerprints(8, 4, 8))
    ((first, mask),), ((second, none),) = values
    assert first.tolist() == second.tolist() == [16, 8, 16]
    assert mask.tolist() == [True, False, True] and none is None
    assert {n: i.tolist() for n, i in inputs.items()} == {1: [80, 40, 80]}
    assert kept.look_up([deep, low], fingerprints(8, 5)) is None  # a sample that it does not have
    assert kept.look_up([cut(5, 2)], fingerprints(8)) is None  # an input that it does not have
    kept.drop(low)
    assert kept.look_up([deep, low], fingerprints(8)) is None and kept.look_up([deep], fingerprints(8))
    kept.drop_all_but([low])
    assert kept.look_up([deep], fingerprints(8)) is None


def test_a_record_of_just_these_samples_is_not_saved_again():
    at, kept, index = cut(5), KeptRecords(), SampleIndex()
    index.find(fingerprints(8, 4, 6))
    for names, settled, same in (
        ([4, 6, 8], True, True),
        ([4, 6, 8], False, False),
        ([4, 6, 8, 9], True, False),
    ):
        kept.put(at, record(names, settled=settled))
        assert kept.has_just(at, index) == same
    assert not kept.has_just(cut(4), index)
