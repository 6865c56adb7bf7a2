"""New weights come from the layers' own initializers; the rest stays, to the bit."""

import keras
import numpy as np
import pytest

import kerasft
from kerasft.stages import StageLayer, find_stages


def test_the_top_stage_begins_again_and_the_rest_stays(image_model):
    backbone = image_model.get_layer("backbone")
    norm = backbone.get_layer("block_2_a_bn")
    norm.moving_mean.assign(np.full(4, 3.0))
    norm.gamma.assign(np.full(4, 3.0))
    stages = find_stages(image_model)
    before = [[v.numpy() for v in stage.weights] for stage in stages]
    assert kerasft.reinitialize(image_model, seed=1) == ["block_2"]
    for index, (stage, kept) in enumerate(zip(stages, before, strict=True)):
        for variable, value in zip(stage.weights, kept, strict=True):
            changes = index == 2 and (
                "kernel" in variable.path or variable is norm.gamma or "mean" in variable.path
            )
            if not changes or "mean" in variable.path:
                continue
            assert not np.array_equal(variable.numpy(), value), variable.path
        if index != 2:
            for variable, value in zip(stage.weights, kept, strict=True):
                np.testing.assert_array_equal(variable.numpy(), value)
    np.testing.assert_array_equal(norm.gamma, np.ones(4))
    np.testing.assert_array_equal(norm.moving_mean, np.zeros(4))
    kernel = backbone.get_layer("block_2_a_conv").kernel.numpy()
    limit = np.sqrt(6 / (9 * 4 + 9 * 4))  # Glorot & Bengio: uniform within sqrt(6 / (fan_in + fan_out))
    assert 0.9 * limit < np.abs(kernel).max() <= limit
    kerasft.reinitialize(image_model, seed=1)
    np.testing.assert_array_equal(backbone.get_layer("block_2_a_conv").kernel, kernel)
    kerasft.reinitialize(image_model, seed=2)
    assert not np.array_equal(backbone.get_layer("block_2_a_conv").kernel, kernel)


def test_a_constant_initializer_is_followed():
    net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, kernel_initializer="ones", name="body")])
    net.add(keras.layers.Dense(1))
    net.layers[0].kernel.assign(np.zeros((2, 2)))
    assert kerasft.reinitialize(net) == ["body"]
    np.testing.assert_array_equal(net.layers[0].kernel, np.ones((2, 2)))


def test_what_has_no_initializers_is_refused_before_anything_changes():
    class Opaque(StageLayer):
        def build(self, shape):
            self.scale = self.add_weight(shape=(3,), initializer="ones")
            self.set_weight_flags()

        def call(self, x):
            return x * self.scale

    net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="a"), Opaque(name="hub_stage")])
    net.add(keras.layers.Dense(2, name="top"))
    kept = net.get_weights()
    with pytest.raises(ValueError, match=r"'hub_stage' \(Opaque\).*a SavedModel holds values"):
        kerasft.reinitialize(net, 2)
    for value, now in zip(kept, net.get_weights(), strict=True):
        np.testing.assert_array_equal(value, now)


def test_wrong_counts(image_model):
    with pytest.raises(ValueError, match=r"has 3 stages before its last one.*stages=4"):
        kerasft.reinitialize(image_model, 4)
    with pytest.raises(ValueError, match="stages is an integer of at least 1"):
        kerasft.reinitialize(image_model, 0)
