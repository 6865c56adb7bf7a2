"""Figures of what is left of the pre-trained model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kerasft.plots import color_of, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def interpolation_sweep(
    alphas: Sequence[float],
    accuracy: Sequence[float],
    source_accuracy: Sequence[float] | None,
    marks: Mapping[str, float | None],
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw accuracy on target and source data over the share of fine-tuned weights.

    Args:
        alphas: The shares.
        accuracy: Accuracy on target data at each.
        source_accuracy: Accuracy on source data at each, or None.
        marks: "floor", an accuracy, and "chosen", a share; None for none.
        path: Where to save the figure; its suffix says in what format. None saves nothing.

    Returns:
        The figure.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure, axes = new_figure()
    axes.plot(alphas, accuracy, label="target data")
    if source_accuracy is not None:
        axes.plot(alphas, source_accuracy, label="source data")
    floor, chosen = marks.get("floor"), marks.get("chosen")
    if floor is not None:
        axes.axhline(floor, color=color_of(1), linestyle=":", label=f"floor: {floor:g}")
    if chosen is not None:
        axes.axvline(chosen, color="0.5", linestyle="--", label=f"chosen: {chosen:.2f}")
    axes.set(xlabel="share of the fine-tuned weights (0: pre-trained)", ylabel="accuracy")
    axes.legend(frameon=False)
    return save_figure(figure, path)


def retention_by_stage(
    history: Sequence[Mapping[str, Any]], path: str | os.PathLike[str] | None = None
) -> Figure:
    """Draw each stage's similarity to, and distance from, the pre-trained model, a line for each epoch.

    Args:
        history: The attribute of `kerasft.Retention`.
        path: Where to save the figure; its suffix says in what format. None saves nothing.

    Returns:
        The figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: Nothing has been measured yet.
    """
    if not history:
        raise ValueError("Nothing has been measured yet: give the callback to fit first.")
    import matplotlib

    figure, (above, below) = new_figure(2)
    epochs = sorted({row["epoch"] for row in history})
    colors = matplotlib.colormaps["viridis_r"]
    for epoch in epochs:
        rows = [row for row in history if row["epoch"] == epoch]
        names = [row["stage"] for row in rows]
        color = colors((epoch - epochs[0] + 1) / (epochs[-1] - epochs[0] + 1))
        label = f"epoch {epoch}" if epoch in (epochs[0], epochs[-1]) else None
        for axes, key in ((above, "cka"), (below, "distance")):
            axes.plot(names, [row[key] for row in rows], "o-", color=color, label=label, markersize=3)
    above.set(ylabel="linear CKA")
    below.set(ylabel="relative distance of weights")
    for axes in (above, below):
        axes.tick_params(axis="x", rotation=90)
    above.legend(frameon=False)
    return save_figure(figure, path)
