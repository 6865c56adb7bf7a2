"""Freezing: what must not move does not, what must move does."""

import keras
import numpy as np
import pytest

import kerasft
from kerasft import trainer


def weights_of(stages):
    return {stage.name: [v.numpy().copy() for v in stage.weights] for stage in stages}


def moved(before, stages):
    """Names of stages of which every weight / no weight changed."""
    result = {}
    for stage in stages:
        changed = [not np.array_equal(a, b.numpy()) for a, b in zip(before[stage.name], stage.weights)]
        result[stage.name] = "all" if all(changed) else "some" if any(changed) else "none"
    return result


def compile_and_fit(model, data, **kwargs):
    if not model.compiled:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(0.01), loss)
    return model.fit(*data, batch_size=8, verbose=0, **kwargs)


def test_frozen_stages_are_equal_to_the_bit_and_thawed_ones_move(image_model, image_data):
    stages = kerasft.freeze(image_model, "block_2")
    before = weights_of(stages)
    compile_and_fit(image_model, image_data)
    assert moved(before, stages) == {"stem": "none", "block_1": "none", "block_2": "all", "head": "all"}
    assert kerasft.freeze_depth(image_model) == 2


def test_a_fitted_model_sees_new_flags_without_compile(image_model, image_data):
    stages = kerasft.freeze(image_model, "head")
    compile_and_fit(image_model, image_data)
    optimizer = image_model.optimizer
    before = weights_of(stages)
    kerasft.freeze(image_model, "block_1")
    compile_and_fit(image_model, image_data)
    assert moved(before, stages) == {"stem": "none", "block_1": "all", "block_2": "all", "head": "all"}
    before = weights_of(stages)
    kerasft.freeze(image_model, "head")  # and back: plain Keras would go on training the traced step
    compile_and_fit(image_model, image_data)
    assert moved(before, stages) == {"stem": "none", "block_1": "none", "block_2": "none", "head": "all"}
    assert image_model.optimizer is optimizer
    assert int(optimizer.iterations) == 9


def test_moving_averages_do_not_cross_over_into_frozen_weights(dense_model):
    """`fit` ends by writing averages into the weights that train, which Keras pairs by position."""
    x, y = np.ones((8, 4), "float32"), np.zeros((8, 3), "float32")
    dense_model.compile(keras.optimizers.SGD(0.1, use_ema=True), "mse")
    dense_model.fit(x, y, verbose=0)
    stages = kerasft.freeze(dense_model, "top")
    before = weights_of(stages)
    dense_model.fit(x, y, verbose=0)
    assert moved(before, stages) == {"first": "none", "second": "none", "top": "all"}


def test_inference_policy_keeps_statistics_and_trains_scale(image_model, image_data):
    kerasft.unfreeze(image_model, batch_norm="inference")
    norm = image_model.get_layer("backbone").get_layer("block_1_a_bn")
    kept = [norm.moving_mean.numpy().copy(), norm.moving_variance.numpy().copy()]
    gamma = norm.gamma.numpy().copy()
    compile_and_fit(image_model, image_data)
    assert np.array_equal(kept[0], norm.moving_mean) and np.array_equal(kept[1], norm.moving_variance)
    assert not np.array_equal(gamma, norm.gamma)
    kerasft.unfreeze(image_model, batch_norm="train")
    compile_and_fit(image_model, image_data)
    assert not np.array_equal(kept[0], norm.moving_mean)
    with pytest.raises(ValueError, match="batch_norm"):
        kerasft.freeze(image_model, 1, batch_norm="statistics?")


def test_frozen_restores_every_flag(image_model):
    backbone = image_model.get_layer("backbone")
    backbone.get_layer("block_1_a_conv").trainable = False
    flags = [layer.trainable for layer in trainer.sublayers(image_model)]
    variables = [v.trainable for v in image_model.variables]
    with pytest.raises(RuntimeError, match="inside"), kerasft.frozen(image_model, "head") as stages:
        assert kerasft.freeze_depth(image_model) == len(stages) - 1
        raise RuntimeError("inside")
    assert [layer.trainable for layer in trainer.sublayers(image_model)] == flags
    assert [v.trainable for v in image_model.variables] == variables


def test_a_model_switched_off_as_a_whole_thaws(image_model, image_data):
    image_model.get_layer("backbone").trainable = False
    image_model.trainable = False
    assert kerasft.freeze_depth(image_model) == 4
    stages = kerasft.freeze(image_model, 1)
    assert kerasft.freeze_depth(image_model) == 1
    before = weights_of(stages)
    compile_and_fit(image_model, image_data)
    assert moved(before, stages) == {"stem": "none", "block_1": "all", "block_2": "all", "head": "all"}


def test_all_frozen_and_bad_depths(dense_model):
    kerasft.freeze(dense_model, 3)
    assert kerasft.freeze_depth(dense_model) == 3
    assert dense_model.trainable_variables == []
    with pytest.raises(ValueError, match="out of range"):
        kerasft.freeze(dense_model, -1)
    kerasft.unfreeze(dense_model)
    assert len(dense_model.trainable_variables) == 6


def test_a_layer_that_holds_layers_is_frozen_as_one():
    class Block(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.inner = keras.layers.Dense(4)

        def build(self, shape):
            self.scale = self.add_weight(shape=(4,), initializer="ones", name="scale")
            self.inner.build(shape)

        def call(self, x):
            return self.inner(x) * self.scale

    model = keras.Sequential([keras.Input((4,)), Block(name="block_0"), Block(name="block_1")])
    kerasft.freeze(model, 1)
    assert {v.path.split("/")[-3 if "dense" in v.path else -2] for v in model.trainable_variables} == {
        "block_1"
    }
    assert len(model.trainable_variables) == 3
