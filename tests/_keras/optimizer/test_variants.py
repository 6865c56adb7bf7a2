"""Optimizers with a mixin of their own, and the classes that saved models name."""

import keras
import pytest

from kerasft._keras.optimizer.lr_multipliers import LrMultipliers, add_step_counts
from kerasft._keras.optimizer.variants import NadamMultipliers, ScaledLrMultipliers, ScheduleFreeMultipliers


@pytest.mark.parametrize(
    ("optimizer_class", "mixin"),
    [
        (keras.optimizers.Nadam, NadamMultipliers),
        (keras.optimizers.ScheduleFreeAdamW, ScheduleFreeMultipliers),
        (keras.optimizers.Adam, LrMultipliers),
    ],
)
def test_each_optimizer_gets_its_mixin(optimizer_class, mixin):
    optimizer = add_step_counts(optimizer_class())
    assert type(optimizer).__mro__[1] is mixin
    assert isinstance(optimizer, optimizer_class) and isinstance(optimizer, LrMultipliers)
    assert keras.saving.get_registered_name(type(optimizer)) == "kerasft>LrMultipliers"


def test_a_loss_scale_is_replaced_unless_it_is_a_users_own():
    class Own(keras.optimizers.LossScaleOptimizer):
        pass

    outer = add_step_counts(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()))
    assert type(outer) is ScaledLrMultipliers and isinstance(outer.inner_optimizer, LrMultipliers)
    assert keras.saving.get_registered_name(ScaledLrMultipliers) == "kerasft>ScaledLrMultipliers"
    assert type(add_step_counts(Own(keras.optimizers.Adam()))) is Own
