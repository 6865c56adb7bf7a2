"""What stays frozen at every depth: the rule, and how tables show it."""

import frozen_parts
import keras
import pytest

from kerasft.stages.find import find_stages
from kerasft.stages.kept_frozen import KeptFrozen


def kept(model, at=None):
    return KeptFrozen(model, [stage.layers for stage in find_stages(model, at)])


def test_nothing_is_kept_in_a_model_that_nobody_froze(image_model):
    found = kept(image_model)
    assert [found.names(i) for i in range(4)] == [[], [], [], []] and found.places() == []
    assert [found.mark(i, trains_now=True) for i in range(4)] == ["yes"] * 4
    assert found.thawed_layers(0) == 0


@pytest.mark.parametrize("whole", [True, False])
def test_a_frozen_prefix_is_a_depth(whole, image_model):
    backbone = image_model.get_layer("backbone")
    for layer in [backbone] if whole else backbone.layers:
        layer.trainable = False
    found = kept(image_model)
    assert found.places() == [] and [found.mark(i, i == 3) for i in range(4)] == ["no", "no", "no", "yes"]
    # stem: convolution and norm; each block: two convolutions and a norm
    assert [found.thawed_layers(depth) for depth in range(5)] == [8, 6, 3, 0, 0]


def test_a_loop_that_ends_inside_a_stage_leaves_that_stages_layers_off(image_model):
    backbone = image_model.get_layer("backbone")
    for layer in backbone.layers:
        layer.trainable = False
        if layer.name == "block_1_a_conv":
            break
    found = kept(image_model)
    assert found.thawed_layers(0) == 2  # the stem's
    assert [found.names(i) for i in range(4)] == [[], ["block_1_a_conv"], [], []]
    assert found.mark(1, trains_now=True) == "yes, 1 kept frozen"


def test_names_and_marks_of_what_is_kept():
    found = kept(frozen_parts.single_weights())
    assert found.names(0) == ["net/body/kernel"]
    assert found.names(1) == ["net/middle/kernel", "net/middle/bias"]
    assert [found.mark(i, trains_now=False) for i in range(3)] == ["no, 1 kept frozen", "kept frozen", "no"]
    assert found.places() == [[0, 0, 0], [1, 0, 0], [1, 0, 1]]
    assert [found.trains_at(depth) for depth in range(4)] == [True, True, True, False]
    found = kept(frozen_parts.normalizations_off())
    assert [found.names(i) for i in range(3)] == [["norm"], ["plain_norm"], []]


def adapted(stem_off, others_off):
    layers = [keras.layers.Dense(4, name=name) for name in ("stem", "query", "dense", "top")]
    model = keras.Sequential([keras.Input((4,)), *layers], name="net")
    model.get_layer("query").enable_lora(2)
    model.get_layer("stem").trainable = not stem_off
    model.get_layer("dense").trainable = not others_off
    return model


def test_layers_below_a_stage_that_trains_by_lora_alone():
    """With more layers off from there on, somebody froze the network for LoRA; else the stem is a depth."""
    assert kept(adapted(stem_off=True, others_off=True)).names(0) == ["stem"]
    alone = kept(adapted(stem_off=True, others_off=False))
    assert alone.names(0) == [] and alone.thawed_layers(0) == 1
    assert kept(adapted(stem_off=False, others_off=True)).names(2) == ["dense"]


def test_print_marks_what_is_kept_and_changes_nothing():
    model = frozen_parts.teacher()
    before = [layer.trainable for layer in model.layers], [v.trainable for v in model.variables]
    rows = str(find_stages(model)).split("\n")
    assert "│ kept frozen │" in next(row for row in rows if "inner" in row)
    assert sum("kept frozen" in row for row in rows) == 1
    assert ([layer.trainable for layer in model.layers], [v.trainable for v in model.variables]) == before
