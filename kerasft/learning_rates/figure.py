"""The figure of a learning-rate range test."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

from kerasft.plots import color_of, new_figure, save_figure


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
    figure, axes = new_figure()
    axes.plot(rates, losses, color="0.75", marker="", linewidth=1, label="loss of one step")
    axes.plot(rates, smoothed, color=color_of(0), marker="", linewidth=2, label="smoothed")
    for number, (name, rate) in enumerate(marks.items(), 1):
        axes.axvline(rate, color=color_of(number), linestyle="--", label=f"{name}: {rate:.1e}")
    low, high = min([*smoothed, *losses]), max(list(smoothed)[: max(1, len(smoothed) // 2)])
    margin = 0.15 * (high - low) or 0.1
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=(low - margin, high + 3 * margin))
    axes.legend(frameon=False)
    return save_figure(figure, path)
