"""Golden inputs, stored as a file takes them."""

import numpy as np
import pytest
from kerasft.export.clients.golden import golden_inputs
from kerasft.export.report import TensorInfo

IMAGE = TensorInfo("image", (1, 2), "int8", scale=0.5, zero_point=-10)
IDS = TensorInfo("ids", (-1, 3), "int32")


def test_samples_come_one_by_one_in_steps_of_the_file():
    first, second = golden_inputs(
        {"ids": [[1, 2, 3], [4, 5, 6]], "image": [[0.0, 1.3], [-1e9, 1e9]]}, [IMAGE, IDS]
    )
    assert first["image"].tolist() == [[-10, -7]]  # round(1.3 / 0.5) - 10
    assert second["image"].tolist() == [[-128, 127]] and second["ids"].tolist() == [[4, 5, 6]]
    assert first["image"].dtype == np.int8 and first["ids"].dtype == np.int32


def test_one_array_is_that_of_the_only_input():
    assert golden_inputs(np.zeros((2, 2)), [IMAGE])[1]["image"].tolist() == [[-10, -10]]
    with pytest.raises(
        ValueError, match=r"received one array, the file takes 'image': int8 of shape \[1, 2\]"
    ):
        golden_inputs(np.zeros((2, 2)), [IMAGE, IDS])
    with pytest.raises(TypeError, match="floats in the units of the graph"):
        golden_inputs(np.zeros((2, 2), "int8"), [IMAGE])
