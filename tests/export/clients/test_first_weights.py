"""What is written is what another reader finds: that of the weights which clients have trained."""

import doctest

import numpy as np
from kerasft.export.clients import first_weights
from kerasft.export.on_device.state import read_state


def test_what_is_written_is_read(tmp_path):
    state = {"kernel": np.arange(6, dtype="float32").reshape(2, 3), "step": np.float32([1e30])}
    path = tmp_path / "a.safetensors"
    path.write_bytes(first_weights.safetensors(state, "abc"))
    found, digest = read_state(path)
    assert digest == "abc" and list(found) == list(state)
    assert all(np.array_equal(found[name], value) for name, value in state.items())
    assert int.from_bytes(path.read_bytes()[:8], "little") % 8 == 0
    assert doctest.testmod(first_weights).failed == 0
