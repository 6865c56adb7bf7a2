"""Flags: set by depth, compared and put back; policies checked before use."""

import re

import keras
import numpy as np
import pytest

import kerasft
from kerasft.freezing.flags import Flags, changes_in_training, check_batch_norm, set_depth


@pytest.mark.parametrize("policy", ["statistics?", "", 1, []])
def test_unknown_policies(policy, dense_model):
    message = re.escape(f'batch_norm is "train", "inference", "statistics" or "frozen", not {policy!r}.')
    for call in (
        lambda: check_batch_norm(policy),
        lambda: kerasft.freeze(dense_model, 1, policy),
        lambda: kerasft.unfreeze(dense_model, policy),
        lambda: kerasft.frozen(dense_model, 1, policy).__enter__(),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert kerasft.freeze_depth(dense_model) == 0
    assert check_batch_norm(None) is None and check_batch_norm("statistics") is None


def test_changed_names_layers_and_weights(image_model):
    backbone = image_model.get_layer("backbone")
    flags = Flags(image_model)
    assert flags.changed() == []
    norm = backbone.get_layer("block_1_a_bn")
    norm.gamma.trainable = False
    assert flags.changed() == [norm.gamma.path]
    norm.trainable = False
    assert flags.changed() == ["layer 'block_1_a_bn'", norm.gamma.path, norm.beta.path]
    norm.gamma.trainable = norm.beta.trainable = True  # the statistics stay all the same
    assert flags.changed() == ["layer 'block_1_a_bn'"]
    flags.restore()
    assert flags.changed() == []
    image_model.trainable = False
    assert {"layer 'classifier'", "layer 'backbone'", "layer 'logits'"} < set(flags.changed())
    flags.restore()
    assert flags.changed() == []


def test_set_depth_leaves_the_training_function_as_it_is(dense_model):
    dense_model.compile("sgd", "mse")
    x, y = np.ones((4, 4)), np.ones((4, 3))
    dense_model.fit(x, y, verbose=0)
    function, stages = dense_model.train_function, kerasft.find_stages(dense_model)
    set_depth(stages, 2)
    assert [v.path for v in dense_model.trainable_variables] == ["net/top/kernel", "net/top/bias"]
    assert dense_model.train_function is function
    kerasft.freeze(stages, 2)
    assert dense_model.train_function is not function


def test_statistics_alone_are_a_change():
    model = keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization(scale=False, center=False)])
    (stage,) = kerasft.find_stages(model)
    assert not stage.trainable and changes_in_training(stage)
    model.layers[0].trainable = False
    assert not changes_in_training(stage)
