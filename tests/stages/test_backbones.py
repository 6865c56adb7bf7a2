"""find_stages on models that hold a backbone: first its stages, in order, then `head`.

The right stages are those of the backbone alone, and what the model's code, by its layers' names, computes
from it.
"""

import keras
import numpy as np
import pytest

import kerasft
from kerasft.stages.find import find_stages

STAGES = ["stem", "block_1", "block_2"]
layers = keras.layers


def backbone(name="backbone", taps=False):
    """stem, block_1 and block_2; with `taps` a result of each, that of block_1 from inside it."""
    inputs = x = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="stem_conv")(x)
    x = stem = layers.BatchNormalization(name="stem_bn")(x)
    inside = []
    for block in (1, 2):
        x = layers.MaxPooling2D()(x)
        y = layers.ReLU()(layers.Conv2D(4, 3, padding="same", name=f"block_{block}_a")(x))
        inside.append(y)
        x = layers.Add()([x, layers.Conv2D(4, 3, padding="same", name=f"block_{block}_b")(y)])
    return keras.Model(inputs, [stem, inside[0], x] if taps else x, name=name)


def image(channels=3):
    return keras.Input((8, 8, channels))


def pooled(x):
    return layers.GlobalAveragePooling2D()(x)


def dense(name, x):
    return layers.Dense(3, name=name)(x)


def unet(start=None):
    inputs = image(3 if start is None else 1)
    x = layers.Rescaling(1 / 255)(inputs) if start is None else start(inputs)
    large, middle, small = backbone(taps=True)(x)
    y = layers.Concatenate()([layers.UpSampling2D()(small), middle])
    y = layers.Conv2D(4, 3, padding="same", name="decoder_1")(y)
    y = layers.Concatenate()([layers.UpSampling2D()(y), large, x])
    y = layers.Conv2D(4, 3, padding="same", name="decoder_2")(y)
    return keras.Model(inputs, layers.Conv2D(1, 1, name="mask")(y), name="unet")


def siamese(sides=2, join=layers.Concatenate, top=True):
    shared, projection = backbone(), layers.Dense(3, name="projection")
    inputs = [image() for _ in range(sides)]
    joined = join()([projection(pooled(shared(x))) for x in inputs])
    return keras.Model(inputs, dense("top", joined) if top else joined)


def one_side_adapted():
    shared, projection = backbone(), layers.Dense(3, name="projection")
    one, other = image(), image(1)
    adapted = layers.Conv2D(3, 1, name="adapter")(other)
    return keras.Model([one, other], layers.Dot(1)([projection(pooled(shared(x))) for x in (one, adapted)]))


def frames():
    inputs = keras.Input((2, 8, 8, 3))
    x = layers.TimeDistributed(keras.Sequential([backbone(), layers.GlobalAveragePooling2D()]))(inputs)
    return keras.Model(inputs, dense("top", layers.LSTM(3, name="reader")(x)))


def with_table():
    inputs, table = image(), keras.Input((5,))
    joined = layers.Concatenate()([pooled(backbone()(inputs)), dense("row", table)])
    return keras.Model([inputs, table], dense("top", joined))


def with_heads(*, models=False, features=False):
    inputs = image()
    x = backbone()(inputs)
    if models:
        ends = []
        for name in ("age", "kind"):
            y = keras.Input((2, 2, 4))
            ends.append(keras.Model(y, dense(name, pooled(y)), name=f"{name}_head")(x))
    else:
        x = pooled(x)
        ends = [x, dense("age", x)] if features else [dense("age", x), dense("kind", dense("hidden", x))]
    return keras.Model(inputs, ends)


class Wrapper(layers.Layer):
    """Calls the layers inside it one after the other."""

    def __init__(self, *inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = list(inner)

    def call(self, x):
        for layer in self.inner:
            x = layer(x)
        return x


def wrapped():
    inputs = image()
    return keras.Model(inputs, dense("top", pooled(Wrapper(backbone(), name="wrapper")(inputs))))


def in_another():
    inputs, outer = image(), image()
    middle = keras.Model(inputs, layers.Conv2D(4, 1, name="neck")(backbone()(inputs)), name="middle")
    return keras.Model(outer, dense("top", pooled(middle(outer))))


def sequential():
    return keras.Sequential(
        [
            image(),
            keras.Sequential([layers.RandomFlip(), backbone(), layers.GlobalAveragePooling2D()]),
            layers.Dense(3, name="hidden"),
            layers.Dense(3, name="top"),
        ]
    )


def adapted():
    inputs = image(1)
    x = layers.Normalization(mean=0.0, variance=1.0, name="norm")(inputs)
    x = layers.Conv2D(3, 1, name="adapter")(x)
    return keras.Model(inputs, dense("top", pooled(backbone()(x))))


@pytest.mark.parametrize(
    ("build", "before", "head"),
    [
        (unet, [], ["decoder_1", "decoder_2", "mask"]),
        (lambda: unet(layers.Conv2D(3, 1, name="adapter")), ["adapter"], ["decoder_1", "decoder_2", "mask"]),
        (siamese, [], ["projection", "top"]),
        (lambda: siamese(join=lambda: layers.Dot(1), top=False), [], ["projection"]),
        (lambda: siamese(sides=3), [], ["projection", "top"]),
        (one_side_adapted, ["adapter"], ["projection"]),
        (frames, [], ["lstm_cell", "top"]),
        (with_table, [], ["row", "top"]),
        (with_heads, [], ["age", "hidden", "kind"]),
        (lambda: with_heads(features=True), [], ["age"]),
        (lambda: with_heads(models=True), [], ["age", "kind"]),
        (wrapped, [], ["top"]),
        (sequential, [], ["hidden", "top"]),
        (adapted, ["adapter"], ["top"]),
    ],
)
def test_the_stages_of_the_backbone_then_the_head(build, before, head):
    model = build()
    stages = find_stages(model)
    assert stages.names == [*before, *STAGES, "head"]
    assert stages.reason is None
    assert sorted(layer.name for layer in stages[-1].layers) == sorted(head)
    alone = [len(stage.weights) for stage in find_stages(backbone())]
    assert [len(stage.weights) for stage in stages][len(before) : -1] == alone
    held = [id(v) for stage in stages for v in stage.weights]
    assert len(held) == len(set(held)) and set(held) == {id(v) for v in model.weights}


def test_a_backbone_with_taps_has_the_stages_of_the_one_without():
    """A result from inside is no path to the end: it hinders no cut."""
    assert find_stages(backbone(taps=True)).names == STAGES
    assert find_stages(in_another()).names == [*STAGES, "neck", "head"]


def test_frozen_below_the_head_the_backbone_stays_and_the_head_trains():
    model = siamese()
    model.compile(keras.optimizers.SGD(0.1), "mse")
    kerasft.freeze(model, "head")
    before = {v.path: v.numpy() for v in model.weights}
    x = np.random.default_rng(0).normal(size=(2, 4, 8, 8, 3)).astype("float32")
    model.train_on_batch([x[0], x[1]], np.ones((4, 3), "float32"))
    moved = {v.path for v in model.weights if not np.array_equal(v.numpy(), before[v.path])}
    assert moved == {f"{name}/{kind}" for name in ("projection", "top") for kind in ("kernel", "bias")}


def two(make, join=layers.Concatenate, top=True):
    inputs = image()
    joined = join()([pooled(make(name)(inputs)) for name in ("left", "right")])
    return keras.Model(inputs, dense("top", joined) if top else joined)


def tower(name):
    return keras.Sequential(
        [image(), layers.Conv2D(3, 1, name="a"), layers.Conv2D(3, 1, name="b")], name=name
    )


def test_backbones_side_by_side_are_one_stage_and_say_why():
    model = two(backbone)
    stages = find_stages(model)
    assert stages.names == ["left+right", "head"]
    assert stages.reason.startswith(
        "'left' and 'right' stand side by side, so their stages have no common order"
    )
    assert "at=['left', 'right', 'top']" in stages.reason and "side by side" in str(stages)
    found = find_stages(model, at=["left", "left/block_1_a", "right/block_1_a", "top"])
    assert [len(stage.layers) for stage in found] == [2, 4 + 2, 4, 1]
    assert found.depth("right/block_1_a") == 2
    assert find_stages(two(backbone, lambda: layers.Dot(1), top=False)).names == ["left+right"]
    towers = find_stages(two(tower))
    assert towers.names == ["left+right", "top"] and "at=['left', 'right', 'top']" in towers.reason


def test_what_follows_parallel_heads_of_a_backbone_makes_them_no_heads():
    inputs, y = image(), keras.Input((2, 2, 4))
    x = backbone()(inputs)
    necks = [keras.Model(y, layers.Conv2D(2, 1, name="c")(y), name=name)(x) for name in ("one", "two")]
    model = keras.Model(inputs, dense("top", pooled(layers.Concatenate()(necks))))
    stages = find_stages(model)
    assert stages.names == [*STAGES, "one+two", "head"] and "'one' and 'two'" in stages.reason


def test_a_layer_with_more_than_a_backbone_is_one_stage_and_says_why():
    inputs = image()
    wrapper = Wrapper(backbone(), layers.Conv2D(4, 1, name="neck"), name="wrapper")
    model = keras.Model(inputs, dense("top", pooled(wrapper(inputs))))
    stages = find_stages(model)
    assert stages.names == ["wrapper", "head"]
    assert "does not know in which order it calls ['backbone', 'neck']" in stages.reason
    assert "at=['wrapper/backbone', ...]" in stages.reason
    at = ["wrapper/backbone", "wrapper/backbone/block_2_a", "wrapper/neck", "top"]
    assert [len(stage.layers) for stage in find_stages(model, at=at)] == [4, 2, 1, 1]


def test_models_that_share_layers_hold_each_once():
    whole = backbone()
    part = keras.Model(whole.inputs, whole.get_layer("block_1_a").output, name="part")
    inputs = image()
    model = keras.Model(
        inputs, dense("top", layers.Concatenate()([pooled(part(inputs)), pooled(whole(inputs))]))
    )
    held = [id(v) for stage in find_stages(model) for v in stage.weights]
    assert len(held) == len(set(held)) == len(model.weights)


def test_a_nested_model_without_anything_to_train_is_no_backbone():
    x = keras.Input((4,))
    scale = keras.Model(x, layers.Normalization(mean=0.0, variance=1.0, name="norm")(x), name="scale")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, dense("b", dense("a", scale(inputs))))
    assert find_stages(model).names == ["a", "b"]


def test_skips_across_most_of_a_network_are_cut_through():
    """A U-Net without a nested backbone; a backbone whose second result comes from layers of its own."""
    flat = backbone()
    x = layers.UpSampling2D()(flat.output)
    x = layers.Concatenate()([x, flat.get_layer("block_1_a").output])
    flat = keras.Model(flat.inputs, layers.Conv2D(1, 1, name="mask")(x))
    stages = find_stages(flat)
    assert stages.names == ["stem", "block_1", "block_2", "mask"] and stages.reason is None
    assert find_stages(flat, at=["stem_conv", "block_1_a", "block_2_a", "mask"]).reason is None
    inner = backbone()
    ends = [inner.output, dense("early", pooled(inner.get_layer("block_1_a").output))]
    inputs = image()
    results = keras.Model(inner.inputs, ends, name="two_ends")(inputs)
    stages = find_stages(
        keras.Model(inputs, dense("top", layers.Concatenate()([pooled(results[0]), results[1]])))
    )
    assert stages.names == ["stem", "block_1", "block_2", "early", "head"] and stages.reason is None
