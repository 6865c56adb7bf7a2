"""What the metrics of a compiled model say about themselves."""

from __future__ import annotations

from typing import Literal

import keras


def metric_direction(model: keras.Model, name: str) -> Literal["min", "max"] | None:
    """Whether the better value of a logged number is the smaller or the larger one, as its metric says.

    Args:
        model: The model, whose metrics are built, as they are after its first step.
        name: The name in the logs, such as "val_accuracy" or, of one of several outputs, "val_out_accuracy".

    Returns:
        "min" or "max"; None if no metric logs that, or it does not say.
    """
    from keras.src.trainers import compile_utils

    several = (compile_utils.CompileMetrics, compile_utils.MetricsList)
    metrics = [
        m for found in model.metrics for m in (found.metrics if isinstance(found, several) else [found])
    ]
    logged = name.removeprefix("val_")
    meant = [m for m in metrics if m.name == logged] or [m for m in metrics if logged.endswith(f"_{m.name}")]
    directions = {getattr(m, "_direction", None) for m in meant}
    said: dict[str | None, Literal["min", "max"]] = {"up": "max", "down": "min"}
    return said.get(directions.pop()) if len(directions) == 1 else None
