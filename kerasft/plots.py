"""Figures, by matplotlib, which comes with `pip install "kerasft[plots]"`."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasft.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# drawn where their data are made, which imports this file: they are found when they are first asked for
_HOMES = {
    "interpolation_sweep": "kerasft.retention.figure",
    "learning_rate_curve": "kerasft.learning_rates.figure",
    "retention_by_stage": "kerasft.retention.figure",
    "trials_by_depth": "kerasft.search.results.figure",
}


def new_figure(rows: int = 1) -> tuple[Figure, Any]:
    """Make a figure in kerasft's style.

    Args:
        rows: How many axes it has, one above the other.

    Returns:
        The figure, and its axes: one for a single row, else an array of them.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('Figures need matplotlib: pip install "kerasft[plots]"') from None
    figure = Figure(figsize=(6.4, 3.0 + rows), dpi=150, layout="constrained")
    axes = figure.subplots(rows)
    for each in figure.axes:
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save_figure(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    """Save a figure, whole or not at all, and return it.

    Args:
        figure: The figure.
        path: The file; its suffix is the format. None saves nothing.

    Raises:
        ValueError: matplotlib does not know the format.
    """
    if path is not None:
        target = Path(path)
        with replacing(target, overwrite=True) as partial:
            figure.savefig(partial, format=target.suffix[1:])
    return figure


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'kerasft.plots' has no attribute {name!r}")
