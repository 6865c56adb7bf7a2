"""One style for all figures: colors that differ in grey as well, and a marker for each, on white."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = ("#0a4f8f", "#e69f00", "#009e73", "#d7a0c4", "#8c2d04", "#6bb6e8")  # dark and light in turn
MARKERS = ("o", "s", "^", "D", "v", "P")
OTHER = "#888888"  # what something is compared with


def color_of(number: int) -> str:
    """The color of a series, by its number from 0."""
    return COLORS[number % len(COLORS)]


def marker_of(number: int) -> str:
    """The marker of a series, by its number from 0."""
    return MARKERS[number % len(MARKERS)]


def new_figure(
    rows: int = 1, columns: int = 1, size: tuple[float, float] | None = None, **arguments: Any
) -> tuple[Figure, Any]:
    """Make a figure in kerasft's style.

    Args:
        rows: How many axes it has, one above the other.
        columns: How many side by side.
        size: Width and height in inches; None: 6.4, and as high as so many rows need.
        arguments: Further ones of matplotlib's `subplots`.

    Returns:
        The figure, and its axes: one for a single row and column, else an array of them.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from cycler import cycler
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('Figures need matplotlib: pip install "kerasft[plots]"') from None
    figure = Figure(figsize=size or (6.4, 3.0 + rows), dpi=150, layout="constrained")
    axes = figure.subplots(rows, columns, **arguments)
    for each in figure.axes:
        each.spines[["top", "right"]].set_visible(False)
        each.set_prop_cycle(cycler(color=COLORS, marker=MARKERS))
        each.grid(alpha=0.3)
        each.set_axisbelow(True)
    return figure, axes


def save_figure(figure: Figure, path: str | os.PathLike[str] | None, *, overwrite: bool = True) -> Figure:
    """Save a figure, whole or not at all, and return it.

    Args:
        figure: The figure.
        path: The file; its suffix is the format. None saves nothing.
        overwrite: Replace a file that is there.

    Raises:
        ValueError: matplotlib does not know the format.
        FileExistsError: The file is there, and `overwrite` is False.
    """
    if path is not None:
        target = Path(path)
        with replacing(target, overwrite=overwrite) as partial:
            figure.savefig(partial, format=target.suffix[1:])
    return figure
