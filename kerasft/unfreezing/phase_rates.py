"""The learning rates of phases: base rate, warm-up, and factors that are given or measured."""

from __future__ import annotations

from typing import Any

import keras

from kerasft import _keras
from kerasft.learning_rates import resolve_multipliers
from kerasft.stages import Stages
from kerasft.unfreezing.auto_rgn import measured_factors, with_own_paths, with_variables
from kerasft.unfreezing.schedule import UnfreezingSchedule


class PhaseRates:
    """Sets the learning rates of the phases of one `fit`.

    Args:
        model: The compiled model that trains.
        stages: Its stages.
        schedule: The schedule.
        measure: Whether factors are measured over each epoch.

    Attributes:
        multipliers: For each phase the factor of each weight, by path; None if it has none.
        measured: Factors that were measured, by path; None before there are any.
    """

    def __init__(
        self, model: keras.Model, stages: Stages, schedule: UnfreezingSchedule, measure: bool
    ) -> None:
        self._model, self._stages, self._schedule, self._measure = model, stages, schedule, measure
        self.multipliers = [
            None if phase.multipliers is None else resolve_multipliers(stages, phase.multipliers)
            for phase in schedule
        ]
        self.measured: dict[str, float] | None = None

    @property
    def _optimizer(self) -> Any:
        return _keras.inner_optimizer(self._model.optimizer)

    @property
    def base(self) -> float:
        """The base learning rate of the next step, without warm-up and multipliers."""
        return float(keras.ops.convert_to_numpy(self._model.optimizer.learning_rate))

    def begin(self) -> None:
        """Prepare the optimizer, which counts the steps of each weight."""
        self._optimizer.measure_gradients(self._measure)

    def begin_phase(self, index: int, fresh: bool) -> bool:
        """Set the rates of a phase.

        Args:
            index: The phase, from 0.
            fresh: Whether it begins, rather than being resumed.

        Returns:
            Whether the training step has to be traced again.
        """
        phase, optimizer = self._schedule.phases[index], self._optimizer
        rate = phase.learning_rate
        retrace: bool = optimizer.follow(None if isinstance(rate, float) else rate)
        if fresh and isinstance(rate, float):
            optimizer.learning_rate = rate
        if fresh:
            optimizer.start_warmup(phase.warmup_steps)
        self.measured = None if fresh else with_own_paths(self._stages, self.measured)
        measured = self.measured
        factors = self.multipliers[index] if measured is None else with_variables(self._stages, measured)
        if factors is not None:
            retrace |= optimizer.set_multipliers(factors)
        return retrace

    def end_epoch(self, index: int) -> None:
        """Take the factors that were measured in an epoch of a phase, and keep the rate with the model."""
        if self._measure:
            norms = self._optimizer.take_gradient_norms()
            self.measured = measured_factors(self._stages, norms, self.multipliers[index])
            self._optimizer.set_multipliers(with_variables(self._stages, self.measured))
        self._optimizer.keep_rate()

    def end(self) -> None:
        """Let the optimizer have a rate that is a number again."""
        if self._optimizer.follow(None):
            _keras.apply_trainable_flags(self._model)
        self._optimizer.measure_gradients(False)
