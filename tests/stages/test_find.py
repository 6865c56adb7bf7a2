"""find_stages: order, names, blocks and cuts of Keras models."""

import keras
import pytest

from kerasft.stages.find import find_stages


def all_weights_once(stages, model):
    held = [id(v) for stage in stages for v in stage.weights]
    assert len(held) == len(set(held))
    assert set(held) == {id(v) for v in model.weights}


@pytest.mark.parametrize(
    ("name", "first", "last", "count"),
    [
        ("MobileNetV2", "Conv1", "Conv_1", 19),  # Sandler et al. 2018, table 2: stem, 17 bottlenecks, conv
        ("ResNet50", "conv1", "conv5_block3", 17),  # He et al. 2015, table 1: stem, 3 + 4 + 6 + 3 units
        ("EfficientNetB0", "stem_conv", "top", 18),  # Tan & Le 2019, table 1: stem, 16 MBConv, top
        ("VGG16", "block1", "block5", 5),
    ],
)
def test_a_stage_is_a_block_of_the_network(name, first, last, count):
    model = getattr(keras.applications, name)(weights=None, include_top=False, input_shape=(64, 64, 3))
    stages = find_stages(model)
    assert (stages.names[0], stages.names[-1], len(stages)) == (first, last, count)
    assert stages.reason is None
    all_weights_once(stages, model)
    assert sum(stage.parameters for stage in stages) == model.count_params()


def test_nested_backbone_gives_its_blocks_and_one_head(image_model):
    stages = find_stages(image_model)
    assert stages.names == ["stem", "block_1", "block_2", "head"]
    all_weights_once(stages, image_model)
    assert stages[0].output_shape == (None, 8, 8, 4)
    assert stages[2].output_shape == (None, 4)  # the pooling after the backbone belongs to its last block


def test_layers_after_a_nested_backbone_are_one_head():
    inputs = keras.Input((4,))
    body = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="a")], name="seq")
    nested = keras.Model(inputs, keras.layers.Dense(4, name="b")(body(inputs)), name="nested")
    x = keras.layers.Dense(4)(nested(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    stages = find_stages(model)
    assert stages.names == ["a", "b", "head"]
    assert len(stages[2].layers) == 2


def test_flat_and_nested_models_have_the_same_backbone_stages(image_model):
    backbone = image_model.get_layer("backbone")
    flat = keras.Model(backbone.inputs, keras.layers.Dense(3, name="top")(backbone.output))
    assert find_stages(flat).names == [*find_stages(backbone).names, "top"]


def test_a_backbone_called_twice_is_still_divided():
    tower = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(4, name="one"), keras.layers.Dense(4, name="two")]
    )
    left, right = keras.Input((4,)), keras.Input((4,))
    joined = keras.layers.Concatenate()([tower(left), tower(right)])
    model = keras.Model([left, right], keras.layers.Dense(1, name="out")(joined))
    stages = find_stages(model)
    assert stages.names == ["one", "two", "out"]
    all_weights_once(stages, model)


def test_a_mask_that_reaches_every_layer_does_not_hinder_the_cuts():
    x = inputs = keras.Input((5, 4))
    mask = keras.layers.Lambda(lambda t: keras.ops.cast(t > 0, "float32"))(inputs)
    for i in range(3):
        x = keras.layers.Multiply()([keras.layers.Dense(4, name=f"layer_{i}")(x), mask])
    assert find_stages(keras.Model(inputs, x)).names == ["layer_0", "layer_1", "layer_2"]


def test_branches_come_one_after_the_other():
    inputs = keras.Input((4,))
    a = keras.layers.Dense(4, name="a1")(keras.layers.Dense(4, name="a0")(inputs))
    b = keras.layers.Dense(4, name="b1")(keras.layers.Dense(4, name="b0")(inputs))
    model = keras.Model(inputs, keras.layers.Add()([a, b]))
    stages = find_stages(model)
    assert stages.names == ["a0", "a1", "b0", "b1"] and stages.reason is None
    assert find_stages(model, at=["a0", "a1"]).names == ["a0", "a1"]


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = keras.layers.Dense(4, name="inner")
        self.outer = keras.layers.Dense(2, name="outer")

    def call(self, x):
        return self.outer(self.inner(x))


def test_subclassed_models_need_names():
    model = Subclassed()
    model(keras.ops.zeros((1, 4)))
    with pytest.raises(ValueError, match=r"subclassed.*at=\['inner', 'outer'\]"):
        find_stages(model)
    stages = find_stages(model, at=["inner", "outer"])
    assert stages.names == ["inner", "outer"]
    all_weights_once(stages, model)


@pytest.mark.parametrize(
    ("at", "message"),
    [(["nose"], "lacks: .*nose"), (["outer", "inner"], "order"), (["inner"] * 2, "once"), ([], "start")],
)
def test_bad_names_of_layers(at, message):
    model = Subclassed()
    model(keras.ops.zeros((1, 4)))
    with pytest.raises(ValueError, match=message):
        find_stages(model, at=at)


def test_unbuilt_models_and_other_things_are_refused():
    with pytest.raises(ValueError, match="Build it first"):
        find_stages(keras.Sequential([keras.layers.Dense(2)]))
    with pytest.raises(TypeError, match="keras.Model"):
        find_stages("MobileNetV2")
