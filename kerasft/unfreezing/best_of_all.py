"""The best epoch of all phases, to which a model goes back when `fit` ends."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerasft.stages import Stages
from kerasft.unfreezing import checks
from kerasft.unfreezing.best_epoch import BestEpoch
from kerasft.unfreezing.phase import Phase
from kerasft.unfreezing.phase_clock import PhaseClock
from kerasft.unfreezing.schedule import UnfreezingSchedule

logger = logging.getLogger(__name__)


class BestOfAll:
    """Weights, optimizer slots, step counts and averages of the best epoch of a fit.

    Args:
        model: The model that trains.
        stages: Its stages.
        watched: Its monitor and mode tell the best epoch.
    """

    def __init__(self, model: keras.Model, stages: Stages, watched: Phase) -> None:
        self._model = model
        self._kept = BestEpoch(model, stages, of_all=True)
        self._clock = PhaseClock(UnfreezingSchedule([watched]))  # of a phase that never ends

    def check(self, logs: Mapping[str, Any]) -> None:
        """Raise unless the first epoch has logged what is watched, and it is known what is better."""
        checks.check_monitors(self._clock.schedule.phases, logs)
        self._clock.schedule = checks.with_directions(self._clock.schedule, self._model)

    def observe(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """Keep an epoch that is over, if it is the best so far."""
        if self._clock.observe(epoch, logs):
            self._kept.keep()

    def restore(self) -> None:
        """Go back to the best epoch, if there is one."""
        if self._kept.restore():
            text = "Back to epoch %s, the best of all phases: %s was %g."
            logger.info(text, self._clock.best_epoch, self._clock.phase.monitor, self._clock.best)

    def to_dict(self) -> dict[str, Any]:
        """What is known of the best epoch, for JSON."""
        return self._clock.to_dict()

    def arrays(self) -> Mapping[str, np.ndarray]:
        """What is kept of it, by name."""
        return self._kept.arrays

    def resume(self, known: Mapping[str, Any] | None, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from what `to_dict` and `arrays` returned; None begins with the next epoch."""
        if known is not None:
            self._clock = PhaseClock.from_dict(self._clock.schedule, known)
            self._kept.arrays = arrays


def best_of_all_by(
    schedule: UnfreezingSchedule | None, restore_best: str, monitor: str | None, mode: Any
) -> Phase | None:
    """What tells the best epoch of all phases, as a phase's monitor and mode; None if it is not sought.

    Raises:
        ValueError: An argument is unknown, or goes without the others.
    """
    if restore_best not in ("phase", "all"):
        raise ValueError(f'restore_best is "phase" or "all", not {restore_best!r}.')
    if restore_best == "phase":
        if monitor is not None or mode != "auto":
            raise ValueError(
                'monitor and mode tell the best epoch of all phases: say restore_best="all" with them. '
                "What a single phase watches is Phase.monitor."
            )
        return None
    watched = {phase.monitor: phase.mode for phase in schedule or () if phase.monitor is not None}
    if monitor is None and len(watched) != 1:
        raise ValueError(
            'restore_best="all" needs to know what tells the best epoch of all phases, for instance '
            f'monitor="val_loss"; the phases watch {sorted(watched) or "nothing"}.'
        )
    if monitor is None:
        monitor, watched_mode = next(iter(watched.items()))
        mode = watched_mode if mode == "auto" else mode
    return Phase(0, monitor=monitor, mode=mode)
