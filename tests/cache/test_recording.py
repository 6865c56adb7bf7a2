"""What is recorded of batches is found again, for each cut, as long as the weights stay."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasft import _keras
from kerasft.cache.cuts.find import find_cut
from kerasft.cache.recording import Recording, Values
from kerasft.cache.records.replay_order import infer_order
from kerasft.cache.records.storage import Storage
from kerasft.cache.records.table import StorageError


def test_what_is_recorded_and_what_is_missing():
    values = Values(None, None, (False,))
    assert values.missing(np.array([2, 0])).tolist() == [True, True]
    values.positions[[2, 0]] = [0, 1]
    assert values.missing(np.array([0, 1, 2, 3])).tolist() == [False, True, False, True]
    assert not values.is_complete(3)
    values.positions[[1, 3]] = [2, 3]
    assert values.is_complete(4) and not values.is_complete(5)


# --- batches


def cuts():
    """Two cuts of one model, the deeper one first, and the layers that are before them."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(n, name=f"dense_{n}") for n in (4, 3, 2)]
    program = _keras.program(keras.Sequential([keras.Input((5,)), *layers]))
    found = []
    for frozen in (2, 1):
        for i, layer in enumerate(layers):
            layer.trainable = i >= frozen
        found.append(find_cut(program))
    return found, layers


def batch(rows, cuts):
    """Values at cuts that name the rows, no masks, and a target."""
    names = np.array(rows, "float32")
    sizes = [cut.tensors[0].shape[-1] for cut in cuts]
    values = [[(tf.constant(np.repeat(names[:, None], size, 1)), None)] for size in sizes]
    return {
        "values": values,
        "extra_inputs": {0: tf.constant(names[:, None])},
        "others": [tf.constant(names)],
    }


def add(recording, cuts, rows):
    numbers, new = recording.index.find(np.array(rows, np.uint64))
    return recording.add(cuts, numbers, new, **batch(rows, cuts))


def test_rows_come_back_at_each_cut():
    (deep, low), _ = cuts()
    recording = Recording(Storage(None, 10**6, spill=False), "float32")
    columns = add(recording, [deep, low], [7, 5, 7])
    assert [np.asarray(c)[:, 0].tolist() for c in columns[:2]] == [[7, 5, 7]] * 2
    assert len(recording) == 2 and not recording.lacks([deep, low], np.array([0, 1]))
    assert recording.lacks([deep], np.array([2]))
    add(recording, [deep, low], [9, 5])
    for cut, width in ((deep, 3), (low, 4)):
        value, side, target = recording.take(cut, np.array([2, 0, 1]))
        assert value.tolist() == [[n] * width for n in (9, 7, 5)]
        assert side.tolist() == [[9], [7], [5]] and target.tolist() == [9, 7, 5]
        assert recording.row_bytes(cut) == 4 * (width + 2) and recording.has_all(cut)
    assert recording.extra_inputs == (0,) and recording.has_inputs_for([deep])
    recording.forget_all_but([low])
    assert not recording.has_all(deep) and recording.has_all(low)


def test_values_before_which_weights_have_changed_are_forgotten():
    (deep, low), layers = cuts()
    recording = Recording(Storage(None, 10**6, spill=False), "float32")
    add(recording, [deep, low], [1, 2])
    layers[1].kernel.assign_add(np.ones((4, 3)))  # before the deeper cut alone
    recording.forget_changed([deep, low])
    assert not recording.has_all(deep) and recording.has_all(low)
    with pytest.raises(StorageError, match="changed three times"):
        for _ in range(2):
            add(recording, [deep, low], [1, 2])
            layers[0].kernel.assign_add(np.ones((5, 4)))
            recording.forget_changed([deep, low])


def test_a_coming_cut_makes_room():
    (deep, low), _ = cuts()
    recording = Recording(Storage(None, 2 * 4 * (3 + 2 + 4), spill=False), "float32")
    add(recording, [deep, low], [1, 2])
    add(recording, [deep, low], [3])
    assert recording.has_all(deep) and not recording.has_all(low)
    assert not recording.lacks([deep, low], np.arange(3))  # nothing more is wanted of it
    assert recording.lacks([low], np.arange(3))  # until it is in force
    with pytest.raises(StorageError, match="exceeds max_bytes"):
        add(recording, [deep, low], range(10, 20))


def test_float16_halves_values_alone():
    (deep, _), _ = cuts()
    recording = Recording(Storage(None, 10**6, spill=False), "float16")
    add(recording, [deep], [4097])  # which float16 does not have
    value, side, target = recording.take(deep, np.array([0]))
    assert (value.dtype, side.dtype, target.dtype) == (np.float16, np.float32, np.float32)
    assert value[0, 0] == 4096 and side[0, 0] == target[0] == 4097
    with pytest.raises(StorageError, match="can't hold the output of 'dense_3': it has values up to 7e"):
        add(recording, [deep], [70000])


def test_a_batch_with_a_tensor_for_all_samples():
    (deep, _), _ = cuts()
    recording = Recording(Storage(None, 10**6, spill=False), "float32")
    given = {**batch([1, 2], [deep]), "others": [tf.constant([1.0])]}
    with pytest.raises(StorageError, match="samples can't be told apart"):
        recording.add([deep], np.arange(2), np.ones(2, bool), **given)


def order_of(recording):
    return infer_order([np.arange(len(recording))] * 2, 1, recording.index.fingerprints(), 0, 2)


def test_a_kept_record_is_adopted():
    (deep, low), _ = cuts()
    store = Storage(None, 10**6, spill=False)
    recording = Recording(store, "float32")
    add(recording, [deep, low], [7, 5])
    kept = recording.to_save(low, order_of(recording))
    other = Recording(store, "float32")
    other.adopt(low, kept)
    assert other.take(low, np.array([1]))[0][0, 0] == 5 and not other.has_all(deep)
    assert other.has_samples_of(kept) and not Recording(store, "float32").has_samples_of(kept)
    assert other.to_save(deep, None) is None
