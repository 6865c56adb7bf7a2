"""Layers that are made of blocks: their calls inside, and the layer run in parts between them."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kerasft
from kerasft import _keras

layers = keras.layers


@keras.saving.register_keras_serializable("inner")
class Block(layers.Layer):
    """Feed-forward with a skip; `scale` may come from another layer."""

    def __init__(self, **options):
        super().__init__(**options)
        self.first, self.second = layers.Dense(8, activation="tanh"), layers.Dense(4)
        self.drop = layers.Dropout(0.0)

    def build(self, shape):
        self.first.build(shape)
        self.second.build((*shape[:-1], 8))
        self.built = True

    def call(self, x, scale=None, training=None):
        y = self.drop(self.second(self.first(x)), training=training)
        return x + (y if scale is None else y * scale)


class Net(layers.Layer):
    """Blocks in series, with code of its own before, between and after them."""

    def __init__(self, count=3, **options):
        super().__init__(**options)
        self.blocks = [Block(name=f"unit{i}") for i in range(count)]
        self.norm = layers.LayerNormalization(name="norm")

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, 4), initializer="ones", name="token")
        for block in self.blocks:
            block.build(shape)
        self.norm.build(shape)
        if hasattr(self, "common"):
            self.common.build(shape)
        self.built = True

    def call(self, x):
        rows = tf.shape(x)[0]
        x = tf.concat([tf.repeat(self.token.value, rows, 0), x], 1)  # raw TensorFlow: no Keras operation
        for block in self.blocks:
            x = 1.5 * block(x)
        return self.norm(x)[:, 0]


class Shared(Net):
    """Each block reads what the layer is given as well, and a layer's result that all share."""

    def __init__(self, **options):
        super().__init__(**options)
        self.common = layers.Dense(4, name="common")

    def call(self, x):
        scale = self.common(x)
        y = x
        for block in self.blocks:
            y = block(y, scale=scale)
        return self.norm(y + 0 * tf.reduce_mean(x) * tf.reduce_mean(self.token.value))


class Residual(layers.Layer):
    """Two layers that are made of others, each with a skip: one block, which nothing opens."""

    def __init__(self, **options):
        super().__init__(**options)
        self.attention, self.norm = layers.MultiHeadAttention(1, 4), layers.LayerNormalization()
        self.feed_forward = keras.Sequential([layers.Dense(8), layers.Dense(4)])

    def build(self, shape):
        self.attention.build(shape, shape)
        self.norm.build(shape)
        self.feed_forward.build(shape)
        self.built = True

    def call(self, x):
        x = x + self.attention(self.norm(x), self.norm(x))
        return x + self.feed_forward(x)


class Sly(Net):
    """Adds what it is given to its result, but only while it trains."""

    def call(self, x, training=None):
        y = x + 0 * self.token.value
        for block in self.blocks:
            y = block(y)
        return self.norm(y + x if training else y)


class Moody(Net):
    """Calls its blocks in another order while it trains."""

    def call(self, x, training=None):
        x = tf.concat([self.token.value * tf.ones_like(x[:, :1]), x], 1)
        for block in reversed(self.blocks) if training else self.blocks:
            x = block(x)
        return self.norm(x)[:, 0]


def model_of(layer, shape=(5, 4)):
    keras.utils.set_random_seed(0)
    inputs = keras.Input(shape)
    layer.name = type(layer).__name__.lower()
    x = layer(layers.Dense(4, name="embedding")(inputs))
    while len(x.shape) > 2:
        x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, layers.Dense(2, name="top")(x))


def vit():
    options = {"image_shape": (8, 8, 3), "patch_size": 4, "num_layers": 3, "num_heads": 2}
    return keras_hub.models.ViTBackbone(**options, hidden_dim=8, mlp_dim=8)


def dino():
    options = {"image_shape": (8, 8, 3), "patch_size": 4, "num_layers": 3, "num_heads": 2}
    return keras_hub.models.DINOV2Backbone(**options, hidden_dim=8, intermediate_dim=8)


def deit():  # its blocks return a tensor and None
    return keras_hub.models.DeiTBackbone((8, 8, 3), 4, 3, 2, 8, 8)


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: model_of(Net()), ["unit0", "unit1", "unit2", "norm", "net"]),
        (lambda: model_of(Shared()), ["common", "unit0", "unit1", "unit2", "norm"]),
        (lambda: model_of(Sly()), ["unit0", "unit1", "unit2", "norm"]),
        (lambda: model_of(Residual()), ["residual"]),
        (vit, ["dropout", "transformer_block_1", "transformer_block_2", "transformer_block_3", "ln"]),
        (dino, ["layers_0", "layers_1", "layers_2"]),
        (deit, [*(f"transformer_block_{i}" for i in (1, 2, 3)), "ln", "deit_encoder"]),
    ],
)
def test_the_parts_give_what_the_whole_gives_to_the_bit(make, parts):
    model = make()
    program = _keras.program(model)
    held = [
        o.layer.name.rstrip("_0123456789") if o.part_of is o.layer else o.layer.name
        for o in program.operations
        if o.part_of
    ]
    assert held == parts or (parts == ["residual"] and not held)
    x = np.random.default_rng(0).normal(size=(3, *model.inputs[0].shape[1:])).astype("float32")
    x = {model.inputs[0].name: x} if isinstance(model.input, dict) else x
    for training in (False, True):
        values = program.enter(x)
        program.run(program.operations, values, training)
        expected = keras.tree.flatten(model(x, training=training))
        for mine, theirs in zip(keras.tree.flatten(program.leave(values)), expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_a_part_needs_what_it_is_computed_from_and_nothing_else():
    program = _keras.program(model_of(Shared()))
    inner = {o.name: o for o in program.operations if o.part_of}
    given, common = program.operations[0].writes[0], inner["shared/common"].writes[0]
    assert inner["shared/unit1"].reads == (common, inner["shared/unit0"].writes[0])
    assert inner["shared/unit0"].reads == (given, common)
    program = _keras.program(model_of(Net()))
    inner = {o.name: o for o in program.operations if o.part_of}
    assert inner["net/unit1"].reads == inner["net/unit0"].writes
    assert {v.path.rsplit("/", 1)[-1] for v in inner["net/unit1"].weights} == {"token", "kernel", "bias"}


def test_stages_are_the_blocks_inside():
    assert kerasft.find_stages(model_of(Net())).names == ["embedding", "unit0", "unit1", "unit2", "top"]
    assert kerasft.find_stages(model_of(Shared())).names == [
        "embedding",
        "common",
        "unit0",
        "unit1",
        "unit2",
        "top",
    ]
    assert kerasft.find_stages(model_of(Residual())).names == ["embedding", "residual", "top"]
    stages = kerasft.find_stages(vit())
    assert stages.names == ["vit_patching_and_embedding", *(f"transformer_block_{i}" for i in (1, 2, 3))]
    for model in (model_of(Net()), vit(), dino()):
        held = [id(v) for stage in kerasft.find_stages(model) for v in stage.weights]
        assert sorted(held) == sorted({id(v) for v in model.weights})


def test_finding_the_stages_leaves_no_trace():
    model = model_of(Net())
    before, call = [w.numpy() for w in model.weights], layers.Layer.__call__
    kerasft.find_stages(model)
    assert layers.Layer.__call__ is call and model.losses == []
    for mine, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(mine, old)


def fit(make, depth, callbacks):
    model = make()
    kerasft.freeze(model, depth)
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, *model.inputs[0].shape[1:])).astype("float32")
    y = rng.normal(size=(8, *model.output.shape[1:])).astype("float32")
    model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0, callbacks=callbacks)
    return model


@pytest.mark.parametrize("make", [lambda layer=layer: model_of(layer()) for layer in (Net, Shared, Sly)])
def test_a_fit_that_is_frozen_up_to_a_block_inside_is_that_of_plain_keras(make):
    cache = kerasft.PrefixCache()
    cached, plain = fit(make, "unit1", [cache]), fit(make, "unit1", [])
    assert cache.reason is None and "unit0" in cache.report.cut and sum(cache.report.replayed) == 2
    start = make()
    trained = {v.path for v in plain.trainable_variables}
    for mine, theirs, old in zip(cached.weights, plain.weights, start.weights, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
        assert np.array_equal(theirs, old) == (theirs.path not in trained)


def test_a_layer_that_calls_others_while_it_trains_is_not_divided():
    cache = kerasft.PrefixCache()
    fit(lambda: model_of(Moody()), "unit1", [cache])
    assert "does not always make the same calls" in cache.reason


def test_masks_go_along():
    class Masked(Net):
        def __init__(self, **options):
            super().__init__(**options)
            self.supports_masking = True

        def call(self, x, mask=None):
            y = x + 0 * self.token.value
            for block in self.blocks:
                y = block(y) * tf.cast(mask, "float32")[..., None]
            return y

    def make():
        keras.utils.set_random_seed(0)
        inputs = keras.Input((5,), dtype="int32")
        x = Masked()(layers.Embedding(9, 4, mask_zero=True)(inputs))
        return keras.Model(inputs, layers.Dense(2, name="top")(layers.LSTM(3, name="last")(x)))

    model = make()
    program = _keras.program(model)
    x = np.random.default_rng(0).integers(0, 3, (3, 5))
    values = program.enter(x)
    program.run(program.operations, values, False)
    np.testing.assert_array_equal(program.leave(values), model(x))
    assert sum(o.part_of is not None for o in program.operations) == 4  # three blocks, and the rest
