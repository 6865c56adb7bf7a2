"""An optimizer that is built for more variables keeps its state."""

import keras
import numpy as np
import pytest

from kerasft._keras.optimizer.growth import extend_optimizer
from kerasft._keras.optimizer.lr_multipliers import LrMultipliers
from kerasft._keras.optimizer.settings import inner_optimizer


def step(optimizer, variables, seed):
    rng = np.random.default_rng(seed)
    optimizer.apply(
        [keras.ops.convert_to_tensor(rng.normal(size=v.shape).astype("float32")) for v in variables],
        variables,
    )


@pytest.mark.parametrize("make", [keras.optimizers.Adam, lambda r: keras.optimizers.SGD(r, momentum=0.9)])
def test_an_extended_optimizer_keeps_its_state(make):
    """Extending in mid-training changes nothing for the variables that it knew."""
    one = [keras.Variable(np.ones((2, 2)), name=n, dtype="float32") for n in ("a", "b")]
    two = [keras.Variable(np.ones((2, 2)), name=n, dtype="float32") for n in ("a", "b")]
    plain, extended = make(0.1), make(0.1)
    plain.build(one[1:])
    extended.build(two[1:])
    for seed in range(5):
        step(plain, one[1:], seed)
        step(extended, two[1:], seed)
    extend_optimizer(extended, two)
    assert int(extended.iterations) == 5
    for seed in range(5, 8):
        step(plain, one[1:], seed)
        step(extended, two[1:], seed)
    np.testing.assert_allclose(one[1], two[1], rtol=1e-6)
    assert np.array_equal(two[0], np.ones((2, 2)))
    fresh, reference = make(0.1), keras.Variable(np.ones((2, 2)), dtype="float32")
    fresh.build([reference])
    step(fresh, [reference], 9)
    step(extended, two[:1], 9)
    np.testing.assert_allclose(two[0], reference, rtol=1e-6)


def test_loss_scaling_is_looked_through(dense_model):
    outer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())
    assert inner_optimizer(outer) is outer.inner_optimizer
    outer.build(dense_model.trainable_variables[2:])
    extend_optimizer(outer, dense_model.trainable_variables)
    assert isinstance(outer.inner_optimizer, LrMultipliers)
    step(outer, dense_model.trainable_variables, 0)
    assert int(outer.inner_optimizer.iterations) == 1


def test_state_that_cannot_follow_a_thaw_is_refused(dense_model):
    class Odd(keras.optimizers.SGD):
        """Keeps a slot in a dict."""

        def build(self, variables):
            if not self.built:
                super().build(variables)
                self.odd = {"slot": self.add_variable_from_reference(variables[0], "odd")}

    optimizer = Odd(0.1)
    optimizer.build(dense_model.trainable_variables[4:])
    with pytest.raises(ValueError, match="Odd keeps 1 variables outside"):
        extend_optimizer(optimizer, dense_model.trainable_variables)
