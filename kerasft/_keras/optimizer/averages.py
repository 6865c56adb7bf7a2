"""Moving averages of an optimizer's variables: each begins with its variable's own first step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from kerasft._keras.optimizer.named_state import NamedState
from kerasft._keras.optimizer.settings import inner_optimizer, native

_NAME = "_model_variables_moving_average"  # Keras's, which SwapEMAWeights and others read


class OwnAverages(NamedState):
    """Mixin over an optimizer's class: the average of a variable begins with the variable's own first step.

    Until then, and while its factor is 0, the average of a variable is the variable: whoever reads the
    averages outside of a traced function finds it so. Keras begins with zeros, which the first step of all
    replaces; here a variable may take its first step long after the others. Variables that a step leaves
    out keep their averages: Keras would pair by position, and an average of equal values can differ from
    them in the last bit.
    """

    _multiplier_state: Any

    @property
    def _model_variables_moving_average(self) -> list[keras.Variable | None]:
        if _NAME not in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {_NAME!r}")
        self._settle_averages()
        return self._stored_averages

    @_model_variables_moving_average.setter
    def _model_variables_moving_average(self, averages: list[keras.Variable | None]) -> None:
        self.__dict__[_NAME] = averages

    @property
    def variables(self) -> list[keras.Variable]:
        """The optimizer's state, as a list."""
        self._settle_averages()
        return list(super().variables)

    def settle_frozen_averages(self) -> None:
        """Let the average of each variable that is frozen now be the variable, which is what stays."""
        for position, variable in enumerate(self._trainable_variables):
            if not variable.trainable:
                self._settle_average(position)

    @property
    def _stored_averages(self) -> list[keras.Variable | None]:
        """The averages as they are stored; empty if there are none."""
        return vars(self).get(_NAME, [])

    def _settle_averages(self) -> None:
        """Let the average of each variable without a step, or with a factor of 0, be the variable."""
        in_replica = tf.distribute.has_strategy() and not tf.distribute.in_cross_replica_context()
        if not self.built or not self._stored_averages or in_replica or not tf.executing_eagerly():
            return
        factors = self._multiplier_state.factors
        for position, steps in enumerate(self._variable_steps.numpy()):
            if steps == 0 or factors[position] == 0:
                self._settle_average(position)

    def _settle_average(self, position: int) -> None:
        average = self._stored_averages[position] if self._stored_averages else None
        if average is not None:
            self._write(average, self._trainable_variables[position])

    def _write(self, target: keras.Variable | tf.Variable, value: Any) -> None:
        """Assign a value, in all replicas."""
        value = native(value)
        self._distribution_strategy.extended.update(native(target), lambda t, v: t.assign(v), args=(value,))

    def _update_model_variables_moving_average(self, trainable_variables: Sequence[keras.Variable]) -> None:
        state = self._multiplier_state
        if not self.use_ema or state.scalars is None:
            return
        for position in state.trained:
            variable, average = self._trainable_variables[position], self._stored_averages[position]
            if average is not None:
                started = keras.ops.cast(state.scalars.steps[position] != 0, variable.dtype)
                momentum = started * self.ema_momentum
                average.assign(momentum * average + (1 - momentum) * variable)

    def _overwrite_model_variables_with_average_value(
        self, trainable_variables: Sequence[keras.Variable]
    ) -> None:
        averages = (
            self._stored_averages or self._model_variables_moving_average
        )  # which says that there are none
        state = self._multiplier_state
        within_step = state.scalars is not None
        steps = keras.ops.unstack(self._variable_steps.value)
        for variable in trainable_variables:
            position = self._get_variable_index(variable)
            left_out = position not in state.trained if within_step else state.factors[position] == 0
            if averages[position] is not None and not left_out:
                self._write(variable, keras.ops.where(steps[position] > 0, averages[position], variable))


@contextlib.contextmanager
def trained_weights(model: keras.Model, callbacks: Sequence[keras.callbacks.Callback]) -> Iterator[None]:
    """Let a model hold the weights that train, and its optimizer the averages, within the block.

    Between two epochs `keras.callbacks.SwapEMAWeights(swap_on_epoch=True)` holds them the other way round.
    """
    kind = keras.callbacks.SwapEMAWeights
    swapped = sum(isinstance(c, kind) and c._ema_weights_in_model for c in callbacks) % 2 == 1
    if swapped:
        _exchange(inner_optimizer(model.optimizer))
    try:
        yield
    finally:
        if swapped:
            _exchange(inner_optimizer(model.optimizer))


def _exchange(optimizer: keras.optimizers.Optimizer) -> None:
    """Exchange variables and averages to the bit; Keras does it by sums, which round."""
    for variable, average in zip(
        optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True
    ):
        if average is not None:
            values = keras.ops.convert_to_numpy(variable), keras.ops.convert_to_numpy(average)
            average.assign(values[0])
            variable.assign(values[1])
