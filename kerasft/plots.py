"""Figures, by matplotlib, which comes with `pip install "kerasft[plots]"`."""

from __future__ import annotations

import importlib
from typing import Any

from kerasft.export.figures import color_of, marker_of, new_figure, save_figure

__all__ = ["color_of", "marker_of", "new_figure", "save_figure"]

# drawn where their data are made, which imports this file: they are found when they are first asked for
_HOMES = {
    "interpolation_sweep": "kerasft.retention.figure",
    "learning_rate_curve": "kerasft.learning_rates.figure",
    "retention_by_stage": "kerasft.retention.figure",
    "trials_by_depth": "kerasft.search.results.figure",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'kerasft.plots' has no attribute {name!r}")
