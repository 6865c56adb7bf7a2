"""A file of weights as a client in another language writes it."""

import json

import numpy as np


def write_safetensors(path, state, digest):
    """Write arrays in float32 and the digest as a safetensors file."""
    header = {"__metadata__": {"digest": digest}}
    place = 0
    for name, value in state.items():
        header[name] = {
            "dtype": "F32",
            "shape": list(value.shape),
            "data_offsets": [place, place + 4 * value.size],
        }
        place += 4 * value.size
    text = json.dumps(header).encode()
    arrays = [np.ascontiguousarray(value, "<f4").tobytes() for value in state.values()]
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(arrays))
