"""A record at a later cut is made from one at an earlier cut, equal to what the prefix itself gives."""

import keras
import numpy as np
import pytest

from kerasft import _keras
from kerasft.cache.cuts.find import find_cut
from kerasft.cache.later_cut import BATCH, record_at_later_cut
from kerasft.cache.records.record_files import SavedRecord
from kerasft.cache.records.sample_index import SampleIndex
from kerasft.cache.records.storage import Storage

COUNT = BATCH + 7  # a whole piece, and a rest


def cuts_of(model, *frozen):
    """The cuts with the first so many layers frozen."""
    program, found = _keras.program(model), []
    for depth in frozen:
        for i, layer in enumerate(model.layers):
            layer.trainable = i >= depth
        found.append(find_cut(program))
    return found


def record_at(cut, inputs, store, dtype=np.float32, extra_inputs=None):
    """What is kept after a run on `inputs`; values lie in another order than samples."""
    extra_inputs = cut.extra_inputs if extra_inputs is None else extra_inputs
    values, others, index = store.table(), store.table(), SampleIndex()
    positions = np.random.default_rng(0).permutation(COUNT)
    (value,) = cut.prefix(inputs if len(inputs) > 1 else inputs[0], training=False)
    mask = _keras.mask_of(value)
    columns = [np.asarray(value).astype(dtype), *([] if mask is None else [np.asarray(mask)])]
    values.append([column[np.argsort(positions)] for column in columns])
    others.append([*(inputs[side] for side in extra_inputs), np.arange(COUNT)])
    index.find(np.arange(1, COUNT + 1, dtype=np.uint64))
    return SavedRecord(index, values, others, positions, tuple(extra_inputs), None, (mask is not None,))


@pytest.fixture
def model():
    """Four layers, with normalization between two of them."""
    layers = [
        keras.layers.Dense(6, activation="relu"),
        keras.layers.BatchNormalization(),
        keras.layers.Dense(5, activation="tanh"),
        keras.layers.Dense(2),
    ]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.layers[1].moving_mean.assign(np.arange(6) / 10)
    return model


def data(*shape):
    return np.random.default_rng(1).normal(size=(COUNT, *shape)).astype("float32")


@pytest.mark.parametrize("folder", [False, True])
def test_it_gives_what_the_whole_prefix_gives(model, tmp_path, folder):
    store = Storage(tmp_path if folder else None, 10**6, spill=folder)
    lower, upper = cuts_of(model, 1, 3)
    x = data(4)
    made = record_at_later_cut(lower, upper, record_at(lower, [x], store), store, "float32")
    expected = upper.prefix(x, training=False)[0].numpy()
    rows = np.arange(COUNT)
    np.testing.assert_allclose(made.values.take(made.positions[rows])[0], expected, atol=1e-6)
    np.testing.assert_array_equal(made.other_columns.take(rows)[0], rows)
    assert made.index.fingerprints().tolist() == list(range(1, COUNT + 1))


def test_halved_floats_stay_halved(model):
    store = Storage(None, 10**6, spill=False)
    lower, upper = cuts_of(model, 1, 3)
    made = record_at_later_cut(lower, upper, record_at(lower, [data(4)], store, np.float16), store, "float16")
    values = made.values.take(made.positions)[0]
    assert values.dtype == np.float16
    np.testing.assert_allclose(values, upper.prefix(data(4), training=False)[0], atol=1e-2)


def test_a_mask_goes_along():
    layers = [keras.layers.Embedding(9, 4, mask_zero=True), keras.layers.Dense(3), keras.layers.LSTM(2)]
    model = keras.Sequential([keras.Input((5,), dtype="int32"), *layers, keras.layers.Dense(1)])
    store = Storage(None, 10**6, spill=False)
    lower, upper = cuts_of(model, 2, 3)
    x = np.random.default_rng(0).integers(0, 4, (COUNT, 5))
    made = record_at_later_cut(lower, upper, record_at(lower, [x], store), store, "float32")
    expected = upper.prefix(x, training=False)[0].numpy()
    np.testing.assert_allclose(made.values.take(made.positions)[0], expected, atol=1e-6)
    unmasked = keras.Sequential(model.layers[1:3])(model.layers[0].call(x)).numpy()
    assert np.abs(unmasked - expected).max() > 1e-3  # the mask counts


def test_an_input_that_the_record_lacks_can_not_be_made_up():
    a, b = keras.Input((4,)), keras.Input((3,))
    below, above, both = (keras.layers.Dense(5) for _ in range(3))
    y = both(keras.layers.Concatenate()([above(below(a)), b]))
    model = keras.Model([a, b], keras.layers.Dense(1)(y))
    program = _keras.program(model)
    below.trainable = False
    lower = find_cut(program)
    above.trainable = both.trainable = False
    upper = find_cut(program)
    assert lower.extra_inputs == (1,) and upper.extra_inputs == ()
    store, inputs = Storage(None, 10**6, spill=False), [data(4), data(3)]
    made = record_at_later_cut(lower, upper, record_at(lower, inputs, store), store, "float32")
    expected = upper.prefix(inputs, training=False)[0]
    np.testing.assert_allclose(made.values.take(made.positions)[0], expected, atol=1e-6)
    assert (
        record_at_later_cut(lower, upper, record_at(lower, inputs, store, extra_inputs=()), store, "float32")
        is None
    )
