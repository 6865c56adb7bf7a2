"""The precisions of a .tflite file, and what a choice of one asks for."""

from __future__ import annotations

from typing import Any

PRECISIONS = ("float32", "float16", "dynamic", "weight_only", "int8")
IO = ("float", "int8", "uint8")
"""What an int8 file takes and gives."""


def check_choice(precision: str, io: str, representative_data: Any) -> None:
    """Raise ValueError unless a precision exists, and comes with what it needs."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision is one of {sorted(PRECISIONS)}, not {precision!r}.")
    if io not in IO:
        raise ValueError(f"io is one of {list(IO)}, not {io!r}.")
    if precision != "int8" and io != "float":
        raise ValueError(f'io={io!r} goes with precision="int8"; {precision} takes and gives floats.')
    if precision == "int8" and representative_data is None:
        raise ValueError(
            "int8 needs representative_data: about a hundred training samples of all classes, as the model "
            'takes them, on which the ranges of activations are measured. precision="weight_only" needs none.'
        )
