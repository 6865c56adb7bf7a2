"""Examples in docstrings run."""

import doctest
import importlib

import pytest

MODULES = [
    "stages", "schedule", "phases", "freezing", "multipliers", "unfreezing", "recording", "cache_report",
    "prefix", "resume", "data", "export.report", "export.clients.mediapipe",
]  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = importlib.import_module(f"kerasft.{name}")
    public = {**vars(importlib.import_module("kerasft")), **vars(module)}
    import keras

    result = doctest.testmod(module, extraglobs={**public, "keras": keras})
    assert result.attempted > 0 and result.failed == 0
