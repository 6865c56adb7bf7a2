"""Series: networks that no single node divides, as a person would divide them."""

import keras
import networkx
import pytest

from kerasft.stages import Series, find_stages

layers = keras.layers


def conv(name, x, **options):
    return layers.Conv2D(4, 3, padding="same", name=name, **options)(x)


def u_net(levels=3):
    inputs = x = keras.Input((16, 16, 3))
    skips = []
    for level in range(1, levels + 1):
        x = conv(f"enc{level}_b", conv(f"enc{level}_a", x))
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = conv("middle_b", conv("middle_a", x))
    for level in range(levels, 0, -1):
        x = layers.Conv2DTranspose(4, 2, strides=2, name=f"dec{level}_up")(x)
        x = layers.Concatenate()([x, skips.pop()])
        x = conv(f"dec{level}_b", conv(f"dec{level}_a", x))
    return keras.Model(inputs, layers.Conv2D(1, 1, name="mask")(x))


def u_net_with_residual_units():
    inputs = x = keras.Input((16, 16, 3))
    x = conv("stem", x)
    skips = []
    for i in range(1, 7):
        x = layers.Add()([x, conv(f"block_{i}_b", conv(f"block_{i}_a", x))])
        if i in (1, 3):
            skips.append(x)
            x = layers.MaxPooling2D()(x)
    for _ in range(2):
        x = layers.Concatenate()([layers.UpSampling2D()(x), skips.pop()])
        x = conv(f"up_{len(skips)}", x)
    return keras.Model(inputs, x)


def image_and_table():
    inputs = x = keras.Input((16, 16, 3))
    table = keras.Input((5,))
    for i in range(4):
        x = conv(f"block{i}", x)
    joined = layers.Concatenate()(
        [layers.GlobalAveragePooling2D()(x), layers.Dense(4, name="columns")(table)]
    )
    return keras.Model([inputs, table], layers.Dense(2, name="top")(joined))


def feature_pyramid():
    inputs = x = keras.Input((16, 16, 3))
    levels = []
    for stage in (1, 2, 3):
        for unit in (1, 2):
            name = f"conv{stage}_block{unit}"
            y = conv(f"{name}_2_conv", conv(f"{name}_1_conv", x, strides=2 if unit == 1 else 1))
            x = layers.Add()([x if unit == 2 else conv(f"{name}_0_conv", x, strides=2), y])
        levels.append(conv(f"lateral{stage}", x))
    for low in (1, 0):
        levels[low] = layers.Add()([levels[low], layers.UpSampling2D()(levels[low + 1])])
    return keras.Model(inputs, [conv(f"out{i}", x) for i, x in enumerate(levels)])


def accumulated_skips():
    """Residual units in groups; after each group a convolution adds to the result, as in SpliceAI."""
    inputs = keras.Input((20, 4))
    x = layers.Conv1D(4, 1, name="first")(inputs)
    result = layers.Conv1D(4, 1, name="skip")(x)
    for group in range(2):
        for unit in range(2):
            y = x
            for half in "ab":
                y = layers.Conv1D(4, 3, padding="same", name=f"unit{group}{unit}_{half}")(y)
            x = layers.Add()([x, y])
        result = layers.Add()([result, layers.Conv1D(4, 1, name=f"skip{group}")(x)])
    return keras.Model(inputs, layers.Dense(2, name="top")(result))


def one_value_for_all_layers():
    """Each layer reads one and the same value beside that of the layer before, as in DeBERTa."""
    inputs = keras.Input((6, 4))
    x = layers.Dense(4, name="embedding")(inputs)
    positions = layers.Dense(4, name="positions")(x)
    for i in range(5):
        x = layers.MultiHeadAttention(1, 4, name=f"layer_{i}")(x, positions)
    return keras.Model(inputs, x)


def encoder_and_decoder():
    """Each layer of the decoder reads the encoder's result, as in Whisper."""
    x, y = inputs = [keras.Input((6, 4)), keras.Input((3, 4))]
    for i in range(2):
        x = layers.MultiHeadAttention(1, 4, name=f"encoder_{i}")(x, x)
    y = layers.Dense(4, name="decoder_embedding")(y)
    for i in range(2):
        y = layers.MultiHeadAttention(1, 4, name=f"decoder_{i}")(y, x)
    return keras.Model(inputs, [x, y])


def transformer_without_names():
    inputs = keras.Input((6, 4))
    x = layers.Dense(4, name="patches")(inputs)
    for _ in range(3):
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(1, 4)(y, y)])
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.Dense(4)(layers.Dense(8)(y))])
    x = layers.LayerNormalization(name="last")(x)
    return keras.Model(inputs, layers.Dense(2, name="top")(x))


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (u_net, ["enc1", "enc2", "enc3", "middle_a", "dec3", "dec2", "dec1", "mask"]),
        (u_net_with_residual_units, ["stem", *(f"block_{i}" for i in range(1, 7)), "up_1", "up_0"]),
        (image_and_table, ["block0", "block1", "block2", "block3", "columns", "top"]),
        (
            feature_pyramid,
            [*(f"conv{s}_block{u}" for s in (1, 2, 3) for u in (1, 2)), "lateral3", "lateral2"],
        ),
        (accumulated_skips, ["first", "unit00", "unit01", "unit10", "unit11", "skip1", "skip", "top"]),
        (one_value_for_all_layers, ["embedding", "positions", *(f"layer_{i}" for i in range(5))]),
        (
            encoder_and_decoder,
            ["encoder_0", "encoder_1", "decoder_embedding", "decoder_0", "decoder_1"],
        ),
    ],
)
def test_blocks_are_those_that_a_person_would_name(make, names):
    model = make()
    stages = find_stages(model)
    assert stages.names == names and stages.reason is None
    held = [id(v) for stage in stages for v in stage.weights]
    assert sorted(held) == sorted({id(v) for v in model.weights})  # each weight once


def test_attention_and_feed_forward_that_repeat_are_one_block():
    stages = find_stages(transformer_without_names())
    assert [len(stage.layers) for stage in stages] == [1, 8, 8, 9, 1]  # attention has four layers inside
    kinds = [[type(x).__name__ for x in stage.layers] for stage in stages[1:4]]
    assert kinds[0] == kinds[1] == kinds[2][:8] and stages.names[0::4] == ["patches", "top"]


@pytest.mark.parametrize(
    "make",
    [
        u_net,
        u_net_with_residual_units,
        image_and_table,
        feature_pyramid,
        accumulated_skips,
        encoder_and_decoder,
    ],
)
def test_what_a_stage_is_computed_from_lies_in_it_or_before_it(make):
    """The right value: paths in Keras's own graph, from the layers' inbound nodes."""
    model = make()
    graph = networkx.DiGraph()
    for layer in model.layers:
        for node in layer._inbound_nodes:
            graph.add_edges_from((t._keras_history.operation.name, layer.name) for t in node.input_tensors)
    stages = find_stages(model)
    place = {x.name: i for i, stage in enumerate(stages) for x in stage.layers if x.name in graph}
    for name, index in place.items():
        above = [place[other] for other in networkx.ancestors(graph, name) if other in place]
        assert max(above, default=0) <= index, name


def test_a_residual_unit_is_not_opened():
    """A unit is one piece, be it half of its network; four layers with weights and a long skip are not."""

    def pieces(count):
        graph = networkx.DiGraph(
            [("x", 0), *((i, i + 1) for i in range(count - 1)), (count - 1, "+"), ("x", "+")]
        )
        graph = networkx.DiGraph()
        graph.add_nodes_from(["x", *range(count), "+"])
        graph.add_edges_from(
            [("x", 0), *((i, i + 1) for i in range(count - 1)), (count - 1, "+"), ("x", "+")]
        )
        return list(Series(graph, ["+"], [], lambda node: node != "+").pieces())

    assert pieces(3) == [["x"], [0, 1, 2, "+"]]
    assert pieces(4) == [["x"], [0], [1], [2], [3, "+"]]
