"""Optimizers that need more than `LrMultipliers`: Nadam, ScheduleFreeAdamW, and a loss scale around one."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from kerasft._keras.optimizer.lr_multipliers import LrMultipliers, Tensors, Variables, in_place_of, mixin_for
from kerasft._keras.optimizer.named_state import Store
from kerasft._keras.optimizer.settings import newer_optimizer


@mixin_for(keras.optimizers.Nadam)
class NadamMultipliers(LrMultipliers):
    """Mixin over Nadam: its momentum schedule is multiplied up over the steps of each variable.

    Keras multiplies it up over all steps.
    """

    def _add_multiplier_state(self) -> None:
        super()._add_multiplier_state()
        self._u_products = self._add_vector("u_products", 1.0, keras.config.floatx())

    def _vectors(self) -> dict[str, keras.Variable]:
        return {**super()._vectors(), "u_products": self._u_products}

    @property
    def _u_product(self) -> keras.Variable | tf.Tensor | None:
        state = self._multiplier_state
        if state.position is None:
            return vars(self).get("_u_product")
        return state.in_step.products[state.position]

    @_u_product.setter
    def _u_product(self, value: keras.Variable) -> None:
        self.__dict__["_u_product"] = value

    def _backend_update_step(
        self, grads: Tensors, trainable_variables: Variables, learning_rate: tf.Tensor
    ) -> None:
        scalars = self._multiplier_state.in_step
        steps = keras.ops.cast(keras.ops.stack(scalars.steps) + 1, self._u_products.dtype)
        old = self._u_products.value
        new = old * self.beta_1 * (1.0 - 0.5 * keras.ops.power(0.96, steps))
        new = keras.ops.where(self._trained_mask(), new, old)
        scalars.products = keras.ops.unstack(new)
        self._u_products.assign(new)
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def _age_all(self) -> None:
        super()._age_all()
        product = vars(self)["_u_product"].numpy()
        self._u_products.assign(np.full(len(self._trainable_variables), product))


@mixin_for(newer_optimizer("ScheduleFreeAdamW"))
class ScheduleFreeMultipliers(LrMultipliers):
    """Mixin over ScheduleFreeAdamW: `momentum` begins at the weights that a variable's first step finds.

    Keras copies them when it builds the optimizer, which in `fit` is a scope that drops the copy.
    """

    def _apply_weight_decay(self, variables: Variables) -> None:
        state = self._multiplier_state
        for position in state.trained:
            variable, momentum = self._trainable_variables[position], self._momentums[position]
            if momentum is not None:
                first = state.in_step.steps[position] == 0
                momentum.assign(keras.ops.where(first, variable, momentum))
        super()._apply_weight_decay(variables)


@in_place_of(keras.optimizers.LossScaleOptimizer)
@keras.saving.register_keras_serializable("kerasft")
class ScaledLrMultipliers(keras.optimizers.LossScaleOptimizer):
    """A `LossScaleOptimizer` that leaves its inner optimizer's state to the inner optimizer.

    Keras saves it twice, the second time by position, which does not fit a model with other layers frozen.
    """

    def save_own_variables(self, store: Store) -> None:
        if not self.built:
            super().save_own_variables(store)
            return
        for name in ("step_counter", "dynamic_scale"):
            store[name] = getattr(self, name).numpy()

    def load_own_variables(self, store: Store) -> None:
        keys = list(store.keys())
        if not self.built or (all(key.isdigit() for key in keys) and len(keys) < _LEAST_IN_FILE):
            super().load_own_variables(store)  # one of both was not built, which the warning says
            return
        names = {"step_counter": "2", "dynamic_scale": "3"}  # Keras: after a count and a rate of no use
        for name, position in names.items():
            getattr(self, name).assign(np.asarray(store[name if name in keys else position]))


# Keras's file of one that was built: four variables of its own, and two or more of the optimizer inside
_LEAST_IN_FILE = 6
