"""The figure of a ladder: accuracy against size, with latency."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from .figures import color_of, marker_of, new_figure, save_figure
from .report import Report

logger = logging.getLogger(__name__)


def draw(
    reports: Mapping[str, Report], choice: str | None, path: Path, max_drop: float, overwrite: bool
) -> None:
    """Accuracy against size, with the files that nothing beats in both joined by a line."""
    try:
        figure, axes = new_figure(size=(7.5, 4))
    except ImportError:
        logger.warning('%s was left out: pip install "kerasft[plots]" for it.', path.name)
        return
    points: list[tuple[float, float]] = []
    chosen: tuple[float, float] | None = None
    for i, (name, report) in enumerate(reports.items()):
        quality, size, ms = report.quality, report.size_bytes / 1e6, report.speed.ms["1"]
        value = ms if quality is None else 100 * quality.accuracy_file
        points.append((size, value))
        chosen = points[-1] if name == choice else chosen
        color, marker = color_of(i), marker_of(i)
        hollow = report.io != "float"  # it lies on the file with float inputs
        axes.scatter(
            size, value, s=130 if hollow else 60, facecolor="none" if hollow else color, edgecolor=color,
            marker=marker, zorder=3,
            label=f"{name}, {ms:.3g} ms" + (" – the choice" if name == choice else ""),
        )  # fmt: skip
    measured = next(iter(reports.values())).quality
    sign = 1 if measured is not None else -1
    better = {p: [q for q in points if q != p and q[0] <= p[0] and sign * (q[1] - p[1]) >= 0] for p in points}
    best = [p for p in points if not better[p]]
    axes.plot(
        *zip(*sorted(set(best)), strict=True), color=color_of(0), marker="", linewidth=1, alpha=0.5, zorder=2
    )
    if measured is not None:
        floor = 100 * (measured.accuracy_model - max_drop)
        axes.axhline(floor, color="#bb4444", linestyle="--", linewidth=0.8)
        axes.annotate(
            f"max_drop {max_drop:g}", (0.99, floor), xycoords=("axes fraction", "data"),
            ha="right", va="bottom", fontsize=8, color="#bb4444",
        )  # fmt: skip
    if chosen is not None:  # a ring wide enough to show around any dot that lies on it, and its name
        axes.scatter(*chosen, s=330, facecolor="none", edgecolor="#222222", linewidth=1.5, zorder=4)
        right = chosen[0] < max(size for size, _ in points) / 2  # where there is room for the name
        axes.annotate(
            f"{choice}, the choice", chosen, xytext=(14 if right else -14, 0), textcoords="offset points",
            ha="left" if right else "right", va="center", fontsize=9, zorder=5,
        )  # fmt: skip
    axes.set(xlabel="size, MB", ylabel="latency, ms" if measured is None else "accuracy on the holdout, %")
    axes.set_xlim(0, 1.15 * max(size for size, _ in points))
    axes.margins(y=0.25)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)
    save_figure(figure, path, overwrite=overwrite)
