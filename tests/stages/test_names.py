"""Names of stages: of the outermost layers, one block a stage, whatever layers are inside.

The right names are those that the model's code gives to what it calls.
"""

import keras
import pytest

import kerasft
from kerasft.stages.find import find_stages

layers = keras.layers


def normalized_before(x, name):
    y = layers.LayerNormalization(name=f"{name}_norm_1")(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 2, name=f"{name}_attention")(y, y)])
    y = layers.LayerNormalization(name=f"{name}_norm_2")(x)
    y = layers.Dense(4, name=f"{name}_dense_2")(layers.Dense(8, name=f"{name}_dense_1")(y))
    return layers.Add()([x, y])


def normalized_after(x, name):
    y = layers.MultiHeadAttention(2, 2, name=f"{name}_attention_1")(x, x)
    x = layers.LayerNormalization(name=f"{name}_norm_1")(layers.Add()([x, y]))
    y = layers.GroupQueryAttention(2, 2, 1, name=f"{name}_attention_2")(x, x)
    x = layers.LayerNormalization(name=f"{name}_norm_2")(layers.Add()([x, y]))
    y = layers.Dense(4, name=f"{name}_dense_2")(layers.Dense(8, name=f"{name}_dense_1")(x))
    return layers.LayerNormalization(name=f"{name}_norm_3")(layers.Add()([x, y]))


def without_shortcuts(x, name):
    x = layers.MultiHeadAttention(2, 2, name=f"{name}_attention")(x, x)
    x = layers.LayerNormalization(name=f"{name}_norm")(x)
    return layers.Dense(4, name=f"{name}_dense")(x)


@keras.saving.register_keras_serializable("tests")
class Encoder(layers.Layer):
    """A block of layers with names that Keras makes up."""

    def build(self, shape):
        self.attention = layers.MultiHeadAttention(2, 2)
        self.attention.build(shape, shape)
        self.feed = keras.Sequential([layers.Dense(8), layers.Dense(4)])
        self.feed.build(shape)

    def call(self, x):
        x = x + self.attention(x, x)
        return x + self.feed(x)


def composite(x, name):
    return Encoder(name=name)(x)


@pytest.mark.parametrize("block", [normalized_before, normalized_after, without_shortcuts, composite])
@pytest.mark.parametrize("names", [["block_0", "block_1"], ["stage_0_block_0", "stage_0_block_1"]])
def test_a_block_of_a_transformer_is_one_stage(block, names):
    inputs = keras.Input((5,))
    x = layers.Embedding(9, 4, name="tokens")(inputs)
    for name in names:
        x = block(x, name)
    model = keras.Model(inputs, layers.Dense(2, name="top")(x), name="net")
    assert find_stages(model).names == ["tokens", *names, "top"]
    factors = kerasft.layerwise_decay(model, 0.5)
    assert sorted(set(factors.values())) == [0.5**i for i in range(len(names) + 1, -1, -1)]


def test_a_stage_has_the_name_of_the_layer_that_was_called():
    x = inputs = keras.Input((5, 4))
    for layer in (
        layers.LSTM(4, return_sequences=True, name="reader"),
        layers.Bidirectional(layers.LSTM(2, return_sequences=True), name="both_ways"),
        layers.RNN(layers.GRUCell(4), return_sequences=True, name="recurrent"),
        layers.RNN(
            layers.StackedRNNCells([layers.LSTMCell(4), layers.GRUCell(4)]),
            return_sequences=True,
            name="deep",
        ),
        layers.TimeDistributed(layers.Dense(4), name="each_step"),
        layers.SpectralNormalization(layers.Dense(4), name="bounded"),
        layers.GRU(4, return_sequences=True),
        Encoder(name="transformer_layer"),
        Encoder(name="transformer_layer_1"),
    ):
        x = layer(x)
    model = keras.Model(inputs, layers.Dense(2, name="top")(x))
    stages = find_stages(model)
    names = ["reader", "both_ways", "recurrent", "deep", "each_step", "bounded"]
    gru = next(layer.name for layer in model.layers if isinstance(layer, layers.GRU))
    assert stages.names == [*names, gru, "transformer_layer", "transformer_layer_1", "top"]
    held = [id(v) for stage in stages for v in stage.weights]
    assert len(held) == len(set(held)) == len(model.weights)  # bounded shares its kernel with what it wraps


def dense(*names, inputs=4):
    return keras.Sequential([keras.Input((inputs,)), *(layers.Dense(4, name=name) for name in names)])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        # the second and third n2 hold the layers n2_1 and n2_2: only the third may be called n2_2
        ("n2_0 z_0 n2_1 z_1 z_2 n2_2 o", "n2 z_0 n2_3 z_1 z_2 n2_2 o"),
        # what two layers share, block_1, is the name of a layer elsewhere
        ("block_1_a block_1_b mid block_1 top", "block_1_2 mid block_1 top"),
    ],
)
def test_a_made_up_name_is_not_that_of_a_layer_elsewhere(names, expected):
    model = dense(*names.split())
    stages = find_stages(model)
    assert stages.names == expected.split()
    for stage in stages:
        factors = kerasft.resolve_multipliers(model, {stage.name: 0.5})
        trained = {path for path, factor in factors.items() if factor == 0.5}
        assert trained == {v.path for v in stage.weights}
        same = [layer for layer in model.layers if layer.name == stage.name]
        assert all(layer in stage.layers for layer in same)
