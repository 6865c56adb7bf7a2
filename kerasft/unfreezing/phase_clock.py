"""Where a run stands in its schedule: the pure state machine of GradualUnfreezing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from kerasft.unfreezing.checks import check_monitors
from kerasft.unfreezing.phase import Phase
from kerasft.unfreezing.schedule import UnfreezingSchedule


@dataclass
class PhaseClock:
    """Which phase runs, for how long, and how well it went.

    Attributes:
        schedule: The phases.
        index: The phase that runs, from 0.
        epochs: How many of its epochs are over.
        best: Best value of its monitor so far; None before there is one.
        best_epoch: The epoch, from 0 at the beginning of training, that reached it.
        wait: Epochs since then, or since the phase began if there is no best value.
        stopped: Whether something else than its own epochs and patience has ended the phase.

    Raises:
        ValueError: The schedule has no phase `index`.

    Example:
        >>> clock = PhaseClock(UnfreezingSchedule([Phase(1, patience=1, monitor="loss"), Phase(0)]))
        >>> [(clock.observe(i, {"loss": loss}), clock.ended) for i, loss in enumerate([2.0, 1.0, 1.0])]
        [(True, False), (True, False), (False, True)]
    """

    schedule: UnfreezingSchedule
    index: int = 0
    epochs: int = 0
    best: float | None = None
    best_epoch: int | None = None
    wait: int = 0
    stopped: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.index < len(self.schedule):
            raise ValueError(
                f"There is no phase {self.index}: the schedule has {len(self.schedule)}, from 0."
            )

    @property
    def phase(self) -> Phase:
        """The phase that runs."""
        return self.schedule.phases[self.index]

    @property
    def is_last(self) -> bool:
        """Whether no phase comes after this one."""
        return self.index == len(self.schedule) - 1

    def observe(self, epoch: int, logs: Mapping[str, Any]) -> bool:
        """Count an epoch of this phase that is over.

        Args:
            epoch: Its number, from 0.
            logs: What it logged.

        Returns:
            Whether it is the best of this phase so far. A tie is no improvement, nor is a value that is not
            finite. A phase without a monitor has no best.

        Raises:
            ValueError: The logs lack the monitor; the clock is as it was.
        """
        phase = self.phase
        value = math.nan
        if phase.monitor is not None:
            check_monitors([phase], logs)
            value = float(logs[phase.monitor])
        self.epochs += 1
        sign = 1 if phase.direction == "max" else -1
        better = self.best is None or sign * (value - self.best) > phase.min_delta
        if math.isfinite(value) and better:
            self.best, self.best_epoch, self.wait = value, epoch, 0
            return True
        if phase.monitor is not None:
            self.wait += 1
        return False

    @property
    def ended(self) -> bool:
        """Whether the phase is over: training goes on to the next one, or ends.

        A last phase without patience is never over: `fit`'s epochs end it. One with patience ends training.
        """
        phase = self.phase
        if self.stopped:
            return True
        if self.is_last and phase.patience is None:
            return False
        ends = [] if phase.epochs is None else [self.epochs >= phase.epochs]
        ends += [] if phase.patience is None else [self.wait >= phase.patience]
        return (any if phase.ends == "first" else all)(ends)

    def advance(self) -> None:
        """Begin the next phase, with no best value: equal scores at two depths stay apart.

        Raises:
            ValueError: This phase is the last one.
        """
        if self.is_last:
            raise ValueError(f"Phase {self.index} is the last one: no phase comes after it.")
        self.index, self.epochs, self.best, self.best_epoch, self.wait = self.index + 1, 0, None, None, 0
        self.stopped = False

    def move_to(self, epoch: int) -> None:
        """Stand at the beginning of `epoch`, as if all epochs before it had been run.

        The values of a monitor in those epochs are unknown: its best value, and patience, count from here on.

        Raises:
            ValueError: The epoch is negative, or phases end by patience, so that it can't be told.
        """
        self.index = self.schedule.index_at(epoch)
        self.epochs = epoch - (self.schedule.starts[self.index] or 0)
        self.best, self.best_epoch, self.wait, self.stopped = None, None, 0, False

    def to_dict(self) -> dict[str, Any]:
        """Everything but the schedule, for JSON."""
        return {name: getattr(self, name) for name in _STATE}

    @classmethod
    def from_dict(cls, schedule: UnfreezingSchedule, state: Mapping[str, Any]) -> PhaseClock:
        """The clock that `to_dict` described.

        Args:
            schedule: The schedule of that clock.
            state: What `to_dict` returned.

        Raises:
            ValueError: An entry is missing or unknown, or the schedule has no such phase.
        """
        if {"stopped", *state} != set(_STATE):  # which an earlier version did not write
            raise ValueError(f"The state of a PhaseClock has {list(_STATE)}; received {list(state)}.")
        return cls(schedule, **state)


_STATE = tuple(field.name for field in fields(PhaseClock) if field.name != "schedule")
