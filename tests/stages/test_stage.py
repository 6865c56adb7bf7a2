"""Stages: depths by number and name, and the table."""

import keras
import pytest
from html_tables import Shown

import kerasft
from kerasft.stages.find import find_stages
from kerasft.stages.stage import Stage, Stages


def test_depths_by_number_and_name(dense_model):
    stages = find_stages(dense_model)
    assert [stages.depth(d) for d in ("first", "top", 0, 3)] == [0, 2, 0, 3]
    with pytest.raises(ValueError, match=r"'nose'.*\['first', 'second', 'top'\]"):
        stages.depth("nose")
    with pytest.raises(ValueError, match="0 .*to 3"):
        stages.depth(4)
    for wrong in (1.5, True, None):
        with pytest.raises(TypeError, match="integer or a stage's name"):
            stages.depth(wrong)


def test_print_shows_a_table(dense_model):
    text = str(find_stages(dense_model))
    dense_model.get_layer("first").trainable = False
    frozen = str(find_stages(dense_model))
    assert "(None, 5)" in text and "35" in text  # second: 6 * 5 + 5 parameters
    assert "no" not in text.split("first")[1].split("\n")[0]
    assert "no" in frozen.split("first")[1].split("\n")[0]


def test_a_notebook_shows_the_same_table(dense_model):
    stages = find_stages(dense_model)
    stages.reason = "<why>"
    shown = Shown(stages._repr_html_())
    assert shown.beside == ["net: 3 stages", "<why>"]
    assert [row[1] for row in shown.rows] == ["stage", "first", "second", "top"]
    assert shown.rows[2] == ["1", "second", "1", "35", "yes", "(None, 5)"]


def test_a_stage_counts_the_weights_its_layers_own(image_model):
    backbone = image_model.get_layer("backbone")
    stage = Stage("both", (image_model, backbone.get_layer("stem_conv"), backbone.get_layer("stem_bn")))
    assert stage.parameters == 3 * 3 * 3 * 4 + 4 + 4 * 4  # kernel, bias; scale, offset, mean, variance
    assert stage.trainable and stage.output_shape is None
    stages = Stages(image_model, [stage])
    assert "?" in str(stages) and repr(stages) == "<Stages of 'classifier': both>"


def test_a_depth_by_the_layer_that_starts_a_stage(image_model):
    stages = find_stages(image_model)
    starts = ["stem_conv", "backbone", "backbone/block_1_a_conv", "block_2_a_conv", "logits"]
    assert [stages.depth(name) for name in starts] == [0, 0, 1, 2, 3]
    kerasft.freeze(image_model, "backbone/block_2_a_conv")
    assert kerasft.freeze_depth(image_model) == kerasft.Stages.depth(stages, "block_2") == 2


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "block_1_b_conv",
            r"inside the stage 'block_1', which starts at 'block_1_a_conv'.*at=\[\.\.\., 'block_1_b",
        ),
        ("global_average_pooling2d", "holds no weights, so no stage starts there"),
        ("*_bn", r"one place in the model.*multipliers=\{'\*_bn': 1\.0, '\*': 0\.0\}.*keep_frozen=.*at="),
        ("nose/*", r"No stage is named 'nose/\*'\. .* are \['stem', 'block_1', 'block_2', 'head'\]"),
    ],
)
def test_what_starts_no_stage_is_refused(image_model, address, message):
    image_model.layers[3].name = "global_average_pooling2d"
    with pytest.raises(ValueError, match=message):
        find_stages(image_model).depth(address)


def test_a_name_of_several_layers_is_no_depth():
    layers = [keras.layers.Dense(4, name="a"), keras.layers.Dense(4, name="b")]
    towers = [keras.Sequential([keras.Input((4,)), *layers], name=name) for name in ("one", "two")]
    copy = keras.models.clone_model(towers[1])
    model = keras.Sequential([keras.Input((4,)), towers[0], copy], name="net")
    stages = find_stages(model, at=["one", "two"])
    with pytest.raises(ValueError, match=r"A freeze depth names 'a', .* \['one/a', 'two/a'\]"):
        stages.depth("a")
    assert [stages.depth(name) for name in ("one/a", "two/a")] == [0, 1]


@pytest.fixture
def blocks():
    """`blk0` and `blk1`, each with layers `fc1` and `fc2`, and `out` over them."""
    h = inputs = keras.Input((8,))
    for k in range(2):
        q = keras.Input((8,))
        inner = keras.layers.Dense(8, name="fc2")(keras.layers.Dense(8, name="fc1")(q))
        h = keras.Model(q, inner, name=f"blk{k}")(h)
    return keras.Model(inputs, keras.layers.Dense(1, name="out")(h))


def test_a_stage_and_a_layer_elsewhere_of_one_name(blocks):
    stages = find_stages(blocks)
    assert stages.names == ["fc1", "fc2", "fc1_2", "fc2_2", "head"]
    before = [v.trainable for v in blocks.variables]
    with pytest.raises(ValueError, match=r"names 'fc2', .* \['blk0/fc2', 'blk1/fc2'\]\. Write the path"):
        kerasft.freeze(blocks, "fc2")
    assert [v.trainable for v in blocks.variables] == before
    named = ["blk0/fc2", "blk1/fc2", "fc1_2", "fc2_2", "head", "blk1", "blk0"]
    assert [stages.depth(name) for name in named] == [1, 3, 2, 3, 4, 2, 0]


def test_a_stage_of_a_layer_at_the_top_and_one_inside_of_one_name():
    """The path of a layer at the top is its name: where it is the stage's, the name means it."""
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="fc")], name="inner")
    first, last = (keras.layers.Dense(4, name=name) for name in ("fc", "top"))
    inputs = keras.Input((4,))
    assert find_stages(keras.Model(inputs, last(inner(first(inputs))))).depth("fc") == 0
    inputs = keras.Input((4,))
    other = keras.models.clone_model(inner)
    stages = find_stages(keras.Model(inputs, keras.layers.Dense(4, name="fc")(other(inputs))))
    assert stages.names == ["fc", "fc_2"]
    with pytest.raises(ValueError, match=r"\['inner/fc', 'fc'\]\. No path means only one .* of their own"):
        stages.depth("fc")
    assert [stages.depth(name) for name in ("inner/fc", "fc_2")] == [0, 1]


def test_layers_of_one_path_need_other_names():
    class Twins(keras.Model):
        def __init__(self):
            super().__init__()
            self.one = keras.Sequential([keras.layers.Dense(4)], name="twin")
            self.two = keras.Sequential([keras.layers.Dense(4)], name="twin")

        def call(self, x):
            return self.two(self.one(x))

    model = Twins()
    model(keras.ops.ones((1, 4)))
    with pytest.raises(ValueError, match=r"\['twin', 'twin'\]\. No path .*: give them names of their own"):
        find_stages(model, at=["twin"])
