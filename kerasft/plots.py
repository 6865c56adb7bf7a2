"""Figures, by matplotlib, which comes with `pip install "kerasft[plots]"`."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FIGURES = {  # users find them here; the code stands beside what it draws
    "learning_rate_curve": "kerasft.learning_rates.figure",
    "trials_by_depth": "kerasft.search.results.figure",
}


def __getattr__(name: str) -> Any:
    if name not in _FIGURES:
        raise AttributeError(f"module 'kerasft.plots' has no attribute {name!r}")
    return getattr(importlib.import_module(_FIGURES[name]), name)


def new_figure(rows: int = 1) -> tuple[Figure, Any]:
    """Make a figure in the common style.

    Args:
        rows: How many plots it has, one below the other.

    Returns:
        The figure, and its axes: one of them, or an array of `rows`.

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
    """Save `figure` at `path`, whose suffix says in what format, and return it; None saves nothing."""
    if path is not None:
        target = Path(path)
        partial = target.with_name(f".{target.stem}.partial{target.suffix}")
        try:
            figure.savefig(partial)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    return figure
