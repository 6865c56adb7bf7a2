"""The figure of a search: score and time against freeze depth."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kerasft.plots import color_of, marker_of, new_figure, save_figure
from kerasft.search.results.record import TrialRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def trials_by_depth(
    records: Sequence[TrialRecord],
    objective: str = "score",
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw the scores of a search's trials, and how long they took, against freeze depth.

    Args:
        records: The trials; those without a score are left out.
        objective: Name of the score.
        path: Where to save the figure; its suffix is the format. None saves nothing.

    Returns:
        The figure: the score above, the time below, a color for each recipe, stopped trials hollow.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: No trial has a score.
    """
    scored = [r for r in records if r.score is not None and math.isfinite(r.score)]
    if not scored:
        raise ValueError(f"None of {len(records)} trials has a score, so there is nothing to draw.")
    figure, (above, below) = new_figure(rows=2)
    recipes = list(dict.fromkeys(r.recipe for r in scored))
    names = {r.depth: r.trains_from for r in sorted(scored, key=lambda r: r.depth)}
    places = {depth: place for place, depth in enumerate(names)}
    for number, recipe in enumerate(recipes):
        rows = [r for r in scored if r.recipe == recipe]
        # side by side, so that recipes at one depth do not hide one another
        depths = [places[r.depth] + 0.12 * (number - (len(recipes) - 1) / 2) for r in rows]
        color, marker = color_of(number), marker_of(number)
        faces = [color if r.status == "completed" else "none" for r in rows]
        for axes, values in ((above, [r.score for r in rows]), (below, [r.seconds for r in rows])):
            axes.scatter(depths, values, s=36, color=faces, edgecolors=color, marker=marker)
        above.scatter([], [], s=36, color=color, marker=marker, label=recipe.replace("_", " "))
    if any(r.status != "completed" for r in scored):
        above.scatter([], [], s=36, color="none", edgecolors="0.4", label="stopped as unlikely")
    below.set(ylabel="seconds", xlabel="freeze depth (the first stage that trains)", ylim=(0, None))
    labels = [f"{depth} ({name})" for depth, name in names.items()]
    below.set_xticks(list(places.values()), labels, rotation=40, ha="right", rotation_mode="anchor")
    above.set_xticks(list(places.values()), [])
    above.set(ylabel=objective, xlim=below.get_xlim())
    figure.legend(frameon=False, fontsize="small", loc="outside upper center", ncols=3)
    return save_figure(figure, path)
