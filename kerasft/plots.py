"""Figures, by matplotlib, which comes with `pip install "kerasft[plots]"`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _figure(rows: int = 1) -> tuple[Figure, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('Figures need matplotlib: pip install "kerasft[plots]"') from None
    figure = Figure(figsize=(6.4, 3.0 + rows), dpi=150, layout="constrained")
    axes = figure.subplots(rows)
    for each in figure.axes:
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    if path is not None:
        target = Path(path)
        partial = target.with_name(f".{target.stem}.partial{target.suffix}")
        try:
            figure.savefig(partial)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    return figure
