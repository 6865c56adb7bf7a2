"""Factors from gradients, by hand."""

import keras
import numpy as np
import pytest

import kerasft
from kerasft.unfreezing.auto_rgn import measured_factors, with_own_paths, with_variables


def test_the_factors_of_a_phase_are_scaled_by_relative_gradients(dense_model):
    stages = kerasft.freeze(dense_model, "second")
    second, top = (dense_model.get_layer(name).kernel for name in ("second", "top"))
    second.assign(np.full(second.shape, 1.0))  # norm sqrt(30)
    top.assign(np.full(top.shape, 2.0))  # norm 2 * sqrt(15)
    norms = {id(second): 30**0.5, id(top): 15**0.5}  # relative norms 1 and 1 / 2
    factors = measured_factors(stages, norms, {"net/top/kernel": 0.1})
    assert factors == {
        "net/second/kernel": 1.0,
        "net/second/bias": 1.0,
        "net/top/kernel": pytest.approx(0.05),
        "net/top/bias": pytest.approx(0.5),
    }


def test_a_stage_without_gradients_keeps_a_factor_above_zero(dense_model):
    stages = kerasft.unfreeze(dense_model)
    factors = measured_factors(stages, {id(dense_model.get_layer("top").kernel): 1.0}, None)
    assert min(factors.values()) == 1e-12 and max(factors.values()) == 1.0


def test_factors_of_a_model_that_is_built_again_go_by_order(dense_model):
    stages = kerasft.freeze(dense_model, "second")
    own = ["net/second/kernel", "net/second/bias", "net/top/kernel", "net/top/bias"]
    stored = dict(zip(["a/k", "a/b", "net/second/kernel", "b/b"], [1.0, 2.0, 3.0, 4.0], strict=True))
    assert with_own_paths(stages, stored) == dict(zip(own, stored.values(), strict=True))
    assert with_own_paths(stages, dict.fromkeys(own[::-1], 0.5)) == dict.fromkeys(own, 0.5)


def test_layers_of_one_name_in_several_models_are_measured_apart():
    h = inputs = keras.Input((1,))
    for k in range(2):
        q = keras.Input((1,))
        layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", name="fc")
        h = keras.Model(q, layer(q), name=f"blk{k}")(h)
    stages = kerasft.find_stages(keras.Model(inputs, h))
    first, second = stages.model.variables
    factors = measured_factors(stages, {id(first): 1.0, id(second): 2.0}, {"fc/kernel#2": 0.5})
    assert factors == {"fc/kernel": 0.5, "fc/kernel#2": 0.5}  # 1 * 1 / 2, and 0.5 * 2 / 2
    assert with_variables(stages, factors).key_of(second) == "fc/kernel#2"
