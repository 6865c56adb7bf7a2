"""Fingerprints tell samples apart, wherever they stand; data that can't be recorded are refused."""

import numpy as np
import pytest
import tensorflow as tf

from kerasft.cache.cuts.batches import leaves, packed, without_optionals
from kerasft.cache.records.table import StorageError
from kerasft.cache.samples import check_rows, check_spec, sample_fingerprints


def ids(*arrays):
    return sample_fingerprints([tf.convert_to_tensor(a) for a in arrays]).numpy()


def test_a_sample_is_the_same_wherever_it_stands():
    x = np.random.default_rng(0).normal(size=(6, 3, 2)).astype("float32")
    y = np.arange(6)
    order = np.array([4, 1, 0, 5, 2, 3])
    found = ids(x, y)
    assert found.dtype == np.uint64 and len(set(found.tolist())) == 6
    assert ids(x[order], y[order]).tolist() == found[order].tolist()


@pytest.mark.parametrize("change", ["input", "target", "weight"])
def test_everything_about_a_sample_counts(change):
    arrays = {
        "input": np.zeros((4, 100), "float32"),
        "target": np.zeros(4, "int64"),
        "weight": np.ones(4, "float32"),
    }
    before = ids(*arrays.values())
    arrays[change][2] = np.nextafter(np.float32(1), np.float32(2)) if change == "weight" else 1
    after = ids(*arrays.values())
    assert (before != after).tolist() == [False, False, True, False]


def test_every_dtype_and_rank():
    for dtype in ("bool", "uint8", "float16", "float64", "int32"):
        assert len(set(ids(np.array([[0], [1]], dtype)).tolist())) == 2
    assert len(set(ids(np.array(["a", "b", "ab"])).tolist())) == 3
    assert ids(np.zeros((0, 3))).shape == (0,)


def test_leaves_and_back():
    data = ({"a": 1, "b": None}, (2, None), 3)
    assert leaves(data) == [1, 2, 3]
    assert packed(data, [4, 5, 6]) == ({"a": 4, "b": None}, (5, None), 6)


def test_weights_that_are_left_out():
    spec = (tf.TensorSpec((None, 2)), tf.OptionalSpec(tf.TensorSpec(())))
    assert without_optionals(spec) == (spec[0], None)
    given = (tf.ones((1, 2)), tf.experimental.Optional.empty(tf.TensorSpec(())))
    assert without_optionals(given)[1] is None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (tf.RaggedTensorSpec((None, None)), "RaggedTensorSpec; dense tensors alone"),
        (tf.SparseTensorSpec((None, 3)), "SparseTensorSpec; dense"),
        (tf.TensorSpec(()), "a scalar for a whole batch"),
    ],
)
def test_data_that_can_not_be_recorded(spec, message):
    for data in ((spec, tf.TensorSpec((None,))), (tf.TensorSpec((None,)), {"y": spec})):
        with pytest.raises(StorageError, match=message):
            check_spec(data)


def test_targets_that_are_strings():
    with pytest.raises(StorageError, match="targets are strings"):
        check_spec((tf.TensorSpec((None, 2)), tf.TensorSpec((None,), tf.string)))
    check_spec((tf.TensorSpec((None,), tf.string), tf.TensorSpec((None,))))  # inputs may be


def test_one_row_for_each_sample():
    check_rows([tf.zeros((3, 2)), tf.zeros(3)], 3)
    with pytest.raises(StorageError, match=r"batch of 3 samples has a tensor of shape \(6, 2\)"):
        check_rows([tf.zeros((6, 2))], 3)
