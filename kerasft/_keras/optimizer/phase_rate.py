"""A learning-rate schedule that an optimizer with a settable rate follows for a while."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from kerasft._keras.optimizer.averages import OwnAverages
from kerasft._keras.optimizer.settings import as_number


class PhaseRate(OwnAverages):
    """Mixin over an optimizer's class: a schedule in place of its rate, whose steps count from when it began.

    Steps are counted as Keras's own schedules count them: each batch, those that only accumulate gradients
    too. They count from where the last warm-up began, which a phase sets whether it warms up or not.
    """

    _warmup: keras.Variable

    def follow(self, schedule: keras.optimizers.schedules.LearningRateSchedule | None) -> bool:
        """Take the rate from a schedule from the next step on; None: from the optimizer's own rate again.

        The own rate is then what the schedule had reached.

        Returns:
            Whether the training step has to be traced again.
        """
        before = self._multiplier_state.rate_schedule
        if before is not None:
            self.keep_rate()
        self._multiplier_state.rate_schedule = schedule
        return schedule is not before

    def keep_rate(self) -> None:
        """Let the own rate, which is saved with the model, be the one that a schedule has reached."""
        if self._multiplier_state.rate_schedule is not None:
            self._learning_rate.assign(as_number(self.learning_rate))

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the next step."""
        return self._get_current_learning_rate()

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        schedule = self._multiplier_state.rate_schedule
        if schedule is not None:
            raise TypeError(
                f"The phase that runs takes its learning rate from a {type(schedule).__name__}, so that "
                "nothing else can set it. Give the phase a number, or leave the rate to the schedule."
            )
        keras.optimizers.Optimizer.learning_rate.fset(self, value)

    def _get_current_learning_rate(self) -> keras.Variable | tf.Tensor:
        schedule = self._multiplier_state.rate_schedule
        if schedule is None:
            return super()._get_current_learning_rate()
        begin = keras.ops.unstack(self._warmup.value)[0] * (self.gradient_accumulation_steps or 1)
        return schedule(self._iterations - keras.ops.cast(begin, self._iterations.dtype))
