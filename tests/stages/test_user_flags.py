"""What the user wants of a layer's flags: read once, and later from what differs from kerasft's own."""

import copy
import gc
import weakref

import frozen_parts
import keras
import pytest

import kerasft
from kerasft.stages.user_flags import UserFlags, recorded


def model_of_three():
    layers = [keras.layers.Dense(4, name=name) for name in ("one", "two", "top")]
    return keras.Sequential([keras.Input((4,)), *layers], name="net")


def names(model):
    return [v.path.removeprefix("net/") for v in model.trainable_variables]


def test_a_change_by_hand_after_kerasfts_own_counts():
    model = model_of_three()
    one, two, _ = model.layers
    kerasft.freeze(model, "top")
    two.trainable = True  # as kerasft would at a lower depth: nothing to be kept
    kerasft.unfreeze(model)
    assert len(names(model)) == 6
    two.trainable = False  # frozen after a stage that is on
    kerasft.freeze(model, "top")
    kerasft.unfreeze(model)
    assert names(model) == ["one/kernel", "one/bias", "top/kernel", "top/bias"]
    one.kernel.trainable = False  # one weight alone
    kerasft.freeze(model, 3)
    kerasft.unfreeze(model)
    assert names(model) == ["one/bias", "top/kernel", "top/bias"]
    one.kernel.trainable = two.trainable = True
    kerasft.freeze(model, "top")
    kerasft.unfreeze(model)
    assert len(names(model)) == 6
    one.trainable = False  # first in the model: a freeze depth
    kerasft.unfreeze(model)
    assert len(names(model)) == 6


def test_a_policy_for_normalization_is_not_taken_for_the_users_flags(image_model):
    for policy in ("inference", "frozen", "statistics", "frozen", None):
        kerasft.freeze(image_model, "block_2", policy)
    kerasft.unfreeze(image_model)
    assert all(layer.trainable for layer in image_model.get_layer("backbone").layers)
    assert len(image_model.trainable_variables) == len(image_model.weights) - 2 * 3  # moving statistics
    norm = image_model.get_layer("backbone").get_layer("block_1_a_bn")
    kerasft.unfreeze(image_model, "inference")
    norm.trainable = True
    norm.trainable = False  # its flag was off by the policy, and its weights' flags were on
    for policy in ("statistics", "inference", "frozen", "train"):
        kerasft.unfreeze(image_model, policy)
        assert not norm.trainable and not norm.trainable_weights and not norm.gamma.trainable


def test_a_layer_that_was_frozen_as_a_prefix_can_be_kept_later(image_model):
    """Once kerasft has thawed a frozen backbone, one layer that is switched off is one among others."""
    backbone = image_model.get_layer("backbone")
    backbone.trainable = False
    kerasft.freeze(image_model, "head")
    kerasft.freeze(image_model, 1)
    norm = backbone.get_layer("block_1_a_bn")
    norm.trainable = False
    for depth in ("head", 0):
        kerasft.freeze(image_model, depth)
    assert backbone.trainable
    assert [layer.name for layer in backbone.layers if layer.weights and not layer.trainable] == [norm.name]


def test_what_is_kept_stays_so_when_more_is_switched_off(image_model):
    backbone = image_model.get_layer("backbone")
    norm = backbone.get_layer("block_2_a_bn")
    norm.trainable = False
    kerasft.unfreeze(image_model)
    for whole in (backbone, image_model):
        whole.trainable = False  # says nothing new of the normalization
        kerasft.unfreeze(image_model)
        assert not norm.trainable and not norm.gamma.trainable
        assert backbone.trainable and len(image_model.trainable_variables) == 6 * 2 + 3 * 2 - 2 + 2 - 2
    norm.trainable = True
    for _ in range(2):
        kerasft.unfreeze(image_model)
        assert norm.trainable and norm.gamma.trainable
        backbone.trainable = False


def test_a_model_that_is_switched_off_while_kerasft_has_all_in_it_frozen():
    """No flag in it changes, but its own does."""
    model = frozen_parts.teacher()
    inner = model.get_layer("teacher")
    kerasft.unfreeze(model, everything=True)
    kerasft.freeze(model, 3)
    inner.trainable = False
    assert "kept frozen" in str(kerasft.find_stages(model)).split("inner")[1].split("\n")[0]
    kerasft.freeze(model, "top")
    kerasft.unfreeze(model)
    assert names(model) == ["student/kernel", "student/bias", "top/kernel", "top/bias"]
    assert not inner.trainable


def test_a_prefix_that_was_named_once_is_a_depth_again(image_model):
    for name in ("stem_conv", "stem_bn", "block_1_a_conv", "block_1_a_bn", "block_1_b_conv"):
        image_model.get_layer("backbone").get_layer(name).trainable = False
    count = len(image_model.trainable_variables)
    kerasft.unfreeze(image_model, keep_frozen=["block_1"])
    assert len(image_model.trainable_variables) == count + 4  # the stem's
    kerasft.unfreeze(image_model)
    assert len(image_model.trainable_variables) == count + 10


def test_lora_enabled_after_a_first_run():
    """Every flag is off as kerasft left it, and means something else now."""
    model = model_of_three()
    one, two, _ = model.layers
    kerasft.freeze(model, "top")
    one.trainable, two.trainable = False, False  # keras-hub's enable_lora, on all layers of a backbone
    one.trainable = True
    one.enable_lora(2)
    expected = names(model)
    assert expected == ["one/bias", "one/lora_kernel_a", "one/lora_kernel_b", "top/kernel", "top/bias"]
    kerasft.unfreeze(model)
    assert names(model) == expected
    kerasft.freeze(model, "top", keep_frozen=["top"])
    assert names(model) == []


def test_lora_of_one_layer_leaves_the_others_what_they_were():
    model = model_of_three()
    kerasft.freeze(model, "top")
    model.layers[1].enable_lora(2)
    kerasft.unfreeze(model)
    assert len(names(model)) == 2 + 3 + 2  # of `two` all but the kernel that LoRA adapts


def test_the_record_goes_with_its_model():
    model = model_of_three()
    kerasft.freeze(model, 1)
    assert recorded(model) is not None and recorded(model.layers[0]) is not None
    left = [weakref.ref(model), weakref.ref(model.layers[0])]
    del model
    gc.collect()
    assert [ref() for ref in left] == [None, None]


@pytest.mark.parametrize("copied", [copy.deepcopy, keras.models.clone_model])
def test_a_copy_begins_with_the_flags_that_it_has(copied):
    model = model_of_three()
    model.get_layer("two").trainable = False
    kerasft.unfreeze(model)
    other = copied(model)
    assert recorded(other.layers[0]) is None
    kerasft.unfreeze(other)
    assert len(names(model)) == len(other.trainable_variables) == 4
    kerasft.freeze(model, "top")
    thawed = copied(model)
    kerasft.unfreeze(thawed)  # all that is frozen comes first in the copy, so it is a freeze depth
    assert len(thawed.trainable_variables) == 6
    kerasft.unfreeze(model)
    assert len(names(model)) == 4


def test_reading_records_nothing():
    model = model_of_three()
    assert not UserFlags.of(model.layers[0]).is_off
    print(kerasft.find_stages(model))
    assert kerasft.freeze_depth(model) == 0
    assert recorded(model.layers[0]) is None
