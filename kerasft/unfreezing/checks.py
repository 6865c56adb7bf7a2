"""What is checked of a schedule before and while it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kerasft.unfreezing.phase import Phase


def missing_monitors(schedule: Iterable[Phase], logs: Mapping[str, Any]) -> list[str]:
    """The monitors that an epoch has not logged, each once, in alphabetical order.

    Args:
        schedule: A schedule, or some phases.
        logs: What an epoch logged, by name.

    Example:
        >>> missing_monitors([Phase(1, monitor="val_loss"), Phase(0, monitor="loss")], {"loss": 0.5})
        ['val_loss']
    """
    return sorted({p.monitor for p in schedule if p.monitor is not None and p.monitor not in logs})


def check_monitors(schedule: Iterable[Phase], logs: Mapping[str, Any]) -> None:
    """Raise unless the logs have the monitor of every phase.

    Args:
        schedule: A schedule, or some phases.
        logs: What an epoch logged, by name.

    Raises:
        ValueError: Names the monitors that are missing, and those that exist.
    """
    missing = missing_monitors(schedule, logs)
    if not missing:
        return
    hint = " Watch one of those, or give `compile` the metric."
    if any(name.startswith("val_") for name in missing) and not any(n.startswith("val_") for n in logs):
        hint = (
            " Names with val_ need validation_data, and validation_freq=1, in fit."  # nothing was validated
        )
    raise ValueError(
        f"The schedule watches {missing}, which the epoch has not logged. It logged {sorted(logs)}.{hint}"
    )
