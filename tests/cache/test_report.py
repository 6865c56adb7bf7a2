"""A report reads as a sentence."""

import pytest

from kerasft.cache.report import CacheReport


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"replayed": [False, False]}, "No epoch of 2 was trained from a record."),
        (
            {"replayed": [False, True], "samples": 1200, "bytes": 2_500_000, "cut": "pool"},
            "1 of 2 epochs trained from a record of 1,200 samples (2.5 MB, in memory; last at 'pool').",
        ),
        (
            {"replayed": [True], "samples": 5, "on_disk": True, "kept": True, "seconds_saved": 7.4},
            "5 samples were recorded by an earlier run. 1 of 1 epochs trained from a record of 5 samples "
            "(0.0 MB, on disk; last at ''), which saved about 7 s.",
        ),
        (
            {"replayed": [True], "on_disk": True, "peak_bytes": 1},
            "1 of 1 epochs trained from a record of 0 samples (0.0 MB, partly on disk; last at '').",
        ),
    ],
)
def test_sentences(given, text):
    assert str(CacheReport(**given)) == text
