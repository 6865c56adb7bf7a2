"""What `recipes.py` has measured, as tables and as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from kerasft.export.figures import COLORS, OTHER, new_figure, save_figure

Rows: TypeAlias = dict[str, dict[str, Any]]
"""What was measured, by "DATA DRAW WAY"."""
NAMES = {
    "probe": "solved head alone",
    "default": "default recipe",
    "right 0.0001": "plain Keras at 1e-4",
    "right 0.0003": "plain Keras at 3e-4",
    "right 3e-05": "plain Keras at 3e-5",
    "written": "plain Keras, as its guide",
    "LP-FT 0.0001": "solved head, then 1e-4",
    "ULMFiT": "gradual, as ULMFiT",
    "all stages": "recipe: all stages",
    "scales trained": "recipe: scales trained",
    "without views": "recipe: without views",
    "decay 0.9": "recipe: rates fall by 0.9",
    "rate 1e-4": "recipe: at 1e-4",
    "rate 5e-4": "recipe: at 5e-4",
    "surest head": "recipe: the surest head",
    "labels smoothed": "recipe: labels smoothed",
    "weights averaged": "recipe: weights averaged",
}


def of_way(rows: Rows, task: str, way: str, value: str) -> dict[int, float]:
    """A measured value of each draw of a way."""
    found = {int(key.split(" ", 2)[1]): row for key, row in rows.items() if key.startswith(f"{task} ")}
    keys = {draw: f"{task} {draw} {way}" for draw in found}
    return {draw: rows[key][value] for draw, key in keys.items() if key in rows}


def difference(one: dict[int, float], other: dict[int, float]) -> str:
    """The mean paired difference in points, over the draws that both have, and its standard error."""
    both = [100 * (one[draw] - other[draw]) for draw in sorted(one.keys() & other.keys())]
    if not both:
        return ""
    error = f" ± {np.std(both, ddof=1) / np.sqrt(len(both)):.1f}" if len(both) > 1 else ""
    return f"{np.mean(both):+.1f}{error}"


def best_rate(rows: Rows, task: str, ways: Sequence[str]) -> str | None:
    """The way of plain Keras done right whose mean accuracy is the highest, of those with the most draws."""
    found = {way: of_way(rows, task, way, "accuracy") for way in ways if way.startswith("right ")}
    most = max(map(len, found.values()), default=0)
    means = {way: np.mean(list(values.values())) for way, values in found.items() if len(values) == most > 0}
    return max(means, key=lambda way: means[way], default=None)


def table(rows: Rows, tasks: Sequence[str], ways: Sequence[str]) -> str:
    """All that is there, in Markdown."""
    lines = []
    for task in tasks:
        best = best_rate(rows, task, ways)
        probes = of_way(rows, task, "probe", "accuracy")
        rights = of_way(rows, task, best, "accuracy") if best else {}
        seconds = of_way(rows, task, best, "processor") if best else {}
        lines += [
            "",
            f"**{task}**",
            "",
            "| way | draws | accuracy | above probe | above plain Keras | above default | time |",
            "|---|---|---|---|---|---|---|",
        ]
        for way in ways:
            found = of_way(rows, task, way, "accuracy")
            if not found:
                continue
            taken = of_way(rows, task, way, "processor")
            shared = taken.keys() & seconds.keys()
            times = np.mean([taken[d] / seconds[d] for d in shared]) if shared else float("nan")
            default = of_way(rows, task, "default", "accuracy")
            cells = [difference(found, each) for each in (probes, rights, default)]
            mark = " (best rate)" if way == best else ""
            lines.append(
                f"| {NAMES.get(way, way)}{mark} | {len(found)} | {np.mean(list(found.values())):.3f} | "
                f"{' | '.join(cells)} | {times:.2f} |"
            )
    return "\n".join(lines)


def drawn(rows: Rows, tasks: Sequence[str], ways: Sequence[str], path: Path) -> None:
    """Draw each way's accuracy less that of plain Keras done right: a dot a draw, and a bar for the mean."""
    figure, panels = new_figure(2, -(-len(tasks) // 2), size=(11, 8), sharey=True)
    names = [way for way in ways if any(of_way(rows, task, way, "accuracy") for task in tasks)]
    for axes, task in zip(panels.flat, tasks, strict=False):
        best = best_rate(rows, task, ways)
        rights = of_way(rows, task, best, "accuracy") if best else {}
        for place, way in enumerate(names):
            found = of_way(rows, task, way, "accuracy")
            gains = [100 * (found[draw] - rights[draw]) for draw in sorted(found.keys() & rights.keys())]
            color = COLORS[4] if way == "default" else OTHER
            axes.plot(gains, [place] * len(gains), "o", color=color, markersize=4, alpha=0.6)
            if gains:
                axes.plot([np.mean(gains)], [place], "|", color=color, markersize=14, markeredgewidth=2.5)
        axes.axvline(0, color="0.7", linewidth=1, zorder=0)
        axes.set_title(task)
        axes.set_xlabel(f"points above {NAMES.get(best, best)}" if best else "")
        axes.set_xlim(max(axes.get_xlim()[0], -25), min(axes.get_xlim()[1], 40))
    panels.flat[0].set_yticks(range(len(names)), [NAMES.get(way, way) for way in names])
    panels.flat[0].invert_yaxis()
    save_figure(figure, path)
