"""The first weights of a head as a safetensors file, of the kind that a page writes and reads.

References:
    https://huggingface.co/docs/safetensors, section "Format".
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np


def safetensors(state: Mapping[str, np.ndarray], digest: str) -> bytes:
    """The content of a file of arrays in float32, with the digest of the model that they belong to.

    Example:
        >>> content = safetensors({"bias": np.zeros(3, "float32")}, "abc")
        >>> content[8:47]
        b'{"__metadata__": {"digest": "abc"}, "bi'
    """
    header: dict[str, object] = {"__metadata__": {"digest": digest}}
    arrays = {name: np.ascontiguousarray(value, "<f4") for name, value in state.items()}
    place = 0
    for name, value in arrays.items():
        end = place + value.nbytes
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that the arrays begin at a multiple of 8, as readers in C want it
    return len(text).to_bytes(8, "little") + text + b"".join(value.tobytes() for value in arrays.values())
