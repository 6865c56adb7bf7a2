"""The figure of a ladder: accuracy against size, with latency."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from .files import replacing
from .report import Report

logger = logging.getLogger(__name__)


def draw(
    reports: Mapping[str, Report], choice: str | None, path: Path, max_drop: float, overwrite: bool
) -> None:
    """Accuracy against size, with the files that nothing beats in both joined by a line."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        logger.warning('%s was left out: pip install "kerasft[plots]" for it.', path.name)
        return
    figure = Figure(figsize=(7.5, 4), layout="constrained")
    axes = figure.subplots()
    points: list[tuple[float, float]] = []
    chosen: tuple[float, float] | None = None
    for i, (name, report) in enumerate(reports.items()):
        quality, size, ms = report.quality, report.size_bytes / 1e6, report.speed.ms["1"]
        value = ms if quality is None else 100 * quality.accuracy_file
        points.append((size, value))
        chosen = points[-1] if name == choice else chosen
        hollow = report.io != "float"  # it lies on the file with float inputs
        axes.scatter(
            size, value, s=130 if hollow else 60, facecolor="none" if hollow else f"C{i}", edgecolor=f"C{i}",
            label=f"{name}, {ms:.3g} ms" + (" – the choice" if name == choice else ""), zorder=3,
        )  # fmt: skip
    measured = next(iter(reports.values())).quality
    sign = 1 if measured is not None else -1
    better = {p: [q for q in points if q != p and q[0] <= p[0] and sign * (q[1] - p[1]) >= 0] for p in points}
    best = [p for p in points if not better[p]]
    axes.plot(*zip(*sorted(set(best)), strict=True), color="#0a6ebd", linewidth=1, alpha=0.5, zorder=2)
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
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)
    with replacing(path, overwrite=overwrite) as partial:
        figure.savefig(partial, dpi=110, format="png")
