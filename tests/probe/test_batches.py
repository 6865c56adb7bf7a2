"""Arrays as batches."""

import numpy as np
import pytest

from kerasft.probe import batches_of

X, Y = np.arange(80.0).reshape(40, 2), np.arange(40)


def test_each_sample_is_in_one_batch_in_its_order():
    found = list(batches_of(({"a": X, "b": -X}, Y, Y / 2)))
    assert [len(y) for _, y, _ in found] == [32, 8]
    np.testing.assert_array_equal(np.concatenate([x["a"] for x, _, _ in found]), X)
    np.testing.assert_array_equal(np.concatenate([x["b"] for x, _, _ in found]), -X)
    np.testing.assert_array_equal(np.concatenate([y for _, y, _ in found]), Y)
    np.testing.assert_array_equal(np.concatenate([weight for _, _, weight in found]), Y / 2)


def test_other_counts_are_refused():
    with pytest.raises(ValueError, match=r"x and y have \[39, 40\] samples"):
        list(batches_of((X, Y[1:])))
