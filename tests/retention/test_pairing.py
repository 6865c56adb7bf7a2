"""Which stages a model shares with its original: by shapes and values, or refused with both readings."""

import keras
import numpy as np
import pytest

from kerasft.retention.pairing import pair


def net(units, names=None, seed=0):
    keras.utils.set_random_seed(seed)
    names = names or [f"layer_{i}" for i in range(len(units))]
    layers = [keras.layers.Dense(u, name=n) for u, n in zip(units, names, strict=True)]
    return keras.Sequential([keras.Input((3,)), *layers], name="net")


def with_head(original, units, name="top"):
    """The original's values, and a new head."""
    model = net([4, 5, units], ["layer_0", "layer_1", name], seed=1)
    for mine, other in zip(model.layers[:-1], original.layers[:-1], strict=True):
        mine.set_weights(other.get_weights())
    return model


def test_a_head_of_other_shapes_is_new():
    original = net([4, 5, 2])
    model = with_head(original, 3)
    pairs = pair("f", model, original)
    assert (pairs.count, len(pairs.variables), pairs.shares) == (2, 4, False)
    for mine, value, theirs in zip(pairs.variables, pairs.values, pairs.theirs, strict=True):
        assert mine is not theirs
        np.testing.assert_array_equal(value, theirs.numpy())
    assert [v is w for v, w in zip(pairs.variables, model.weights[:4], strict=True)] == [True] * 4


def test_a_head_of_the_same_shapes_is_told_by_its_values():
    original = net([4, 5, 2])
    assert pair("f", with_head(original, 2), original).count == 2
    copy = keras.models.clone_model(original)
    copy.set_weights(original.get_weights())
    assert pair("f", copy, original).count == 3


@pytest.mark.parametrize("top", ["layer_2", "top"])
def test_after_training_both_readings_are_named_whatever_the_layers_are_called(top):
    original, other = net([4, 5, 2]), net([4, 5, 2], ["layer_0", "layer_1", top], seed=1)
    for trained in (True, False):
        with pytest.raises(ValueError, match=r"may be a new head.*shared=2 if it is new, or shared=3"):
            pair("f", other, original, trained=trained)
    assert pair("f", other, original, shared=top).count == 2
    assert pair("f", other, original, shared=3).count == 3


def test_a_backbone_in_the_model_holds_its_variables(image_model):
    backbone = image_model.get_layer("backbone")
    pairs = pair("f", image_model, backbone)
    assert pairs.shares and pairs.stages.names[pairs.count] == "head"
    assert {id(v) for v in pairs.variables} == {id(v) for v in backbone.weights}


def test_weights_of_before():
    model = net([4, 2])
    before = model.get_weights()
    model.layers[0].kernel.assign(np.ones((3, 4)))
    pairs = pair("f", model, before)
    assert pairs.count == 2
    for value, array in zip(pairs.values, before, strict=True):
        np.testing.assert_array_equal(value, array)
    assert [v.path for v, _ in pairs.of_stage(1)] == ["net/layer_1/kernel", "net/layer_1/bias"]


def test_another_architecture_is_named():
    original = net([4, 5, 6, 2])
    with pytest.raises(ValueError, match=r"no stage in common; then 'net' has 'layer_0' with .*\(3, 7\)"):
        pair("f", net([7, 5, 6, 2]), original)
    with pytest.raises(ValueError, match="the first 1 stages agree"):
        pair("f", net([4, 7, 6, 2]), original)
    with pytest.raises(ValueError, match="shared=3, but 'net' is not the original"):
        pair("f", net([4, 7, 6, 2]), original, shared=3)
    with pytest.raises(ValueError, match=r"8 arrays. It received 8; .* number 2, 'net/layer_1/kernel'"):
        pair("f", original, net([4, 7, 6, 2]).get_weights())
    with pytest.raises(TypeError, match="received 'model.keras'"):
        pair("f", original, "model.keras")
