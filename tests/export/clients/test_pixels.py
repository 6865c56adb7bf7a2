"""Pixels become a graph's input."""

import pytest
from kerasft.export.clients.pixels import pixel_normalization


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"input_range": (0.0, 255.0)}, (0.0, 1.0)),
        ({"input_range": (-1.0, 1.0)}, (127.5, 127.5)),  # black is -127.5 / 127.5, white 127.5 / 127.5
        ({"normalization": ((1, 2, 3), 4), "input_range": (0, 1)}, ((1, 2, 3), 4)),
        ({"input_range": (0.0, 1.0)}, (0.0, 255.0)),
        ({}, None),
    ],
)
def test_what_is_given_tells_mean_and_std(given, expected):
    nothing = {"input_range": None, "normalization": None}
    assert pixel_normalization(**{**nothing, **given}) == expected
