"""Figures, by matplotlib, which comes with `pip install "kerasft[plots]"`."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def learning_rate_curve(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    marks: Mapping[str, float],
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw a learning-rate range test.

    Args:
        rates: The learning rates, rising.
        losses: The loss of the step at each.
        smoothed: The same, smoothed.
        marks: Learning rates to be marked, by name.
        path: Where to save the figure; its suffix says in what format. None saves nothing.

    Returns:
        The figure.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure, axes = _figure()
    axes.plot(rates, losses, color="0.75", linewidth=1, label="loss of one step")
    axes.plot(rates, smoothed, color="C0", linewidth=2, label="smoothed")
    for number, (name, rate) in enumerate(marks.items(), 1):
        axes.axvline(rate, color=f"C{number}", linestyle="--", label=f"{name}: {rate:.1e}")
    low, high = min([*smoothed, *losses]), max(list(smoothed)[: max(1, len(smoothed) // 2)])
    margin = 0.15 * (high - low) or 0.1
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=(low - margin, high + 3 * margin))
    axes.legend(frameon=False)
    return _save(figure, path)


def trials_by_depth(
    records: Sequence[Any],
    objective: str = "score",
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw what the trials of a search came to, and how long they took, against freeze depth.

    Args:
        records: The trials; those without a score are left out.
        objective: Name of the score.
        path: Where to save the figure; its suffix says in what format. None saves nothing.

    Returns:
        The figure: the score above, the time below, a color for each recipe, stopped trials hollow.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: No trial has a score.
    """
    scored = [r for r in records if r.score is not None and math.isfinite(r.score)]
    if not scored:
        raise ValueError(f"None of {len(records)} trials has come to a score, so there is nothing to draw.")
    figure, (above, below) = _figure(rows=2)
    recipes = list(dict.fromkeys(r.recipe for r in scored))
    names = {r.depth: r.trains_from for r in sorted(scored, key=lambda r: r.depth)}
    places = {depth: place for place, depth in enumerate(names)}
    for number, recipe in enumerate(recipes):
        rows = [r for r in scored if r.recipe == recipe]
        # a little beside each other, so that recipes at one depth do not hide one another
        depths = [places[r.depth] + 0.12 * (number - (len(recipes) - 1) / 2) for r in rows]
        faces = [f"C{number}" if r.status == "completed" else "none" for r in rows]
        for axes, values in ((above, [r.score for r in rows]), (below, [r.seconds for r in rows])):
            axes.scatter(depths, values, s=36, color=faces, edgecolors=f"C{number}")
        above.scatter([], [], s=36, color=f"C{number}", label=recipe.replace("_", " "))
    if any(r.status != "completed" for r in scored):
        above.scatter([], [], s=36, color="none", edgecolors="0.4", label="stopped early")
    below.set(ylabel="seconds", xlabel="freeze depth (the first stage that trains)", ylim=(0, None))
    labels = [f"{depth} ({name})" for depth, name in names.items()]
    below.set_xticks(list(places.values()), labels, rotation=40, ha="right", rotation_mode="anchor")
    above.set_xticks(list(places.values()), [])
    above.set(ylabel=objective, xlim=below.get_xlim())
    figure.legend(frameon=False, fontsize="small", loc="outside upper center", ncols=3)
    return _save(figure, path)


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
