"""Layers that hold stages of blocks: a stage is a block, whatever holds it, or the reason says why not."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasft
from kerasft import _keras

layers = keras.layers


class Unit(layers.Layer):
    """Two residual branches, each made of layers: one block."""

    def __init__(self, width, **options):
        super().__init__(**options)
        self.mixer = keras.Sequential([layers.Dense(width, activation="tanh")], name="mixer")
        self.feed_forward = keras.Sequential([layers.Dense(2 * width), layers.Dense(width)], name="ff")

    def call(self, x):
        x = x + self.mixer(x)
        return x + self.feed_forward(x)


class Level(layers.Layer):
    """Blocks in series with an offset of its own, as a stage of a Swin transformer has."""

    def __init__(self, width, count, named, **options):
        super().__init__(**options)
        self.offset = self.add_weight(shape=(width,), initializer="ones", name="offset")
        self.blocks = [Unit(width, **({"name": f"block{i}"} if named else {})) for i in range(count)]

    def call(self, x):
        x = x + self.offset
        for block in self.blocks:
            x = block(x)
        return tf.concat([x, x], -1)


def encoder(base):
    class Encoder(base):
        def __init__(self, counts=(2, 2), named=True, **options):
            super().__init__(**options)
            self.embed = layers.Dense(4, name="embed")
            names = [{"name": f"level{i}"} if named else {} for i in range(len(counts))]
            self.levels = [Level(4 * 2**i, count, named, **names[i]) for i, count in enumerate(counts)]
            self.norm = layers.LayerNormalization(name="norm")

        def call(self, x):
            x = self.embed(x)
            for level in self.levels:
                x = level(x)
            return self.norm(x)

    return Encoder


Encoder, SubclassedEncoder = encoder(layers.Layer), encoder(keras.Model)


class Untraceable(Encoder):
    def call(self, x):
        if not tf.executing_eagerly() and tf.reduce_sum(x) > 0:  # needs the value
            return super().call(-x)
        return super().call(x)

    def compute_output_spec(self, x):
        return keras.KerasTensor((*x.shape[:-1], 16))


class SideBySide(Encoder):
    def call(self, x):
        x = self.embed(x)
        first, second = self.levels[0](x), self.levels[1](tf.concat([x, x], -1))
        return self.norm(tf.concat([first, first], -1) + second)


def model_of(kind, inputs=1, **options):
    keras.utils.set_random_seed(0)
    layer, given = kind(name="encoder", **options), [keras.Input((3,)) for _ in range(inputs)]
    layer(keras.ops.ones((1, 3)))
    results = [layer(x) for x in given]
    x = layers.Concatenate()(results) if inputs > 1 else results[0]
    return keras.Model(given if inputs > 1 else given[0], layers.Dense(2, name="top")(x))


@pytest.mark.parametrize("kind", [Encoder, SubclassedEncoder])
def test_a_stage_is_a_block_named_by_its_path(kind):
    stages = kerasft.find_stages(model_of(kind))
    inside = [f"encoder/level{i}/block{k}" for i in range(2) for k in range(2)]
    assert stages.names == ["embed", *inside, "top"] and stages.reason is None
    # w·w + w, w·2w + 2w, 2w·w + w; `offset` goes with a level's first block, `norm` with the last one
    unit = {4: 4 * 4 + 4 + 4 * 8 + 8 + 8 * 4 + 4, 8: 8 * 8 + 8 + 8 * 16 + 16 + 16 * 8 + 8}
    sizes = [3 * 4 + 4, unit[4] + 4, unit[4], unit[8] + 8, unit[8] + 2 * 16, 16 * 2 + 2]
    assert [stage.parameters for stage in stages] == sizes


def test_numbers_that_keras_counts_tell_blocks_apart_without_a_path():
    keras.backend.clear_session()
    stages = kerasft.find_stages(model_of(Encoder, named=False))
    assert stages.names == ["embed", "unit", "unit_1", "unit_2", "unit_3", "top"]


def test_levels_of_which_none_holds_most_are_stages():
    stages = kerasft.find_stages(model_of(Encoder, counts=(4, 1)))
    assert stages.names == ["embed", "level0", "level1", "top"] and stages.reason is None
    assert stages[1].parameters == 4 * 96 + 4 < stages.model.count_params() / 2


@pytest.mark.parametrize("inputs", [1, 2])
@pytest.mark.parametrize("kind", [Encoder, SubclassedEncoder])
def test_the_parts_give_what_the_whole_gives_to_the_bit(kind, inputs):
    model = model_of(kind, inputs)
    program = _keras.program(model)
    names = [o.name for o in program.operations]
    assert names.count("encoder/level1/block0") == inputs  # opened at each place where it is called
    held = {o.name: [v.path.rsplit("/", 1)[-1] for v in o.weights] for o in program.operations}
    assert "offset" in held["encoder/level1/block1"] and "offset" not in held["encoder/embed"]
    x = [np.random.default_rng(i).normal(size=(5, 3)).astype("float32") for i in range(inputs)]
    values = program.enter(x if inputs > 1 else x[0])
    program.run(program.operations, values, training=True)
    np.testing.assert_array_equal(program.leave(values), model(x if inputs > 1 else x[0]))


@pytest.mark.parametrize("inputs", [1, 2])
def test_a_fit_that_is_frozen_up_to_a_block_inside_is_that_of_plain_keras(inputs):
    def fitted(callbacks):
        model = model_of(Encoder, inputs)
        kerasft.freeze(model, "encoder/level1/block1")
        model.compile(keras.optimizers.Adam(1e-2), "mse")
        rng = np.random.default_rng(0)
        x = [rng.normal(size=(8, 3)).astype("float32") for _ in range(inputs)]
        y = rng.normal(size=(8, 2)).astype("float32")
        given = x if inputs > 1 else x[0]
        model.fit(given, y, batch_size=4, epochs=3, shuffle=False, verbose=0, callbacks=callbacks)
        return model

    cache = kerasft.PrefixCache()
    cached, plain, start = fitted([cache]), fitted([]), model_of(Encoder, inputs)
    assert cache.reason is None and sum(cache.report.replayed) == 2
    assert cache.report.cut == " + ".join(["encoder/level1/block0"] * inputs)
    trained = {v.path for v in plain.trainable_variables}
    assert {path.split("/")[-3] for path in trained if "block" in path} == {"mixer", "ff"}
    for mine, theirs, old in zip(cached.weights, plain.weights, start.weights, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
        assert np.array_equal(theirs, old) == (theirs.path not in trained)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Untraceable, "its calls can't be traced (OperatorNotAllowedInGraphError: "),
        (SideBySide, "it does not call the layers in it that are made of others one after the other. "),
    ],
)
def test_what_holds_most_of_a_network_and_stays_whole_says_why(kind, why):
    model = model_of(kind)
    stages = kerasft.find_stages(model)
    assert stages.names == ["encoder", "top"]
    assert stages.reason.startswith(f"'encoder' was not divided: {why}") and "\x1b" not in stages.reason
    share = stages[0].parameters / model.count_params()
    assert stages.reason.endswith(f"with at=['encoder/embed', ...]. It holds {share:.0%} of the weights.")
    assert kerasft.find_stages(model, at=["encoder/embed", "encoder/level1", "top"]).reason is None


def test_a_block_that_holds_most_of_a_small_network_is_no_matter():
    assert kerasft.find_stages(model_of(Unit, width=3)).reason is None
