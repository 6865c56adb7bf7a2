"""The part of a model that trains: which cuts work, which are refused, and the names of its weights."""

import keras
import numpy as np
import pytest
from keras import layers
from kerasft.export.on_device.part import (
    last_layers,
    named_weights,
    part_of,
    rest_of,
    weight_names,
    with_new_classes,
)
from kerasft.export.on_device.row import row_of


def paths(part):
    return [link.path for link in part.links]


def same_features(model, part, names=None):
    """The part's layers, called on its features, give the model's output."""
    x = np.random.default_rng(0).normal(size=(3, *model.inputs[0].shape[1:])).astype("float32")
    y = part.features(x, training=False)
    for link in part.links:
        y = link.layer(y, training=False)
    np.testing.assert_allclose(y, model(x, training=False), atol=1e-6)


def test_the_head_is_the_last_layer_with_a_kernel(image_model):
    part = part_of(image_model)
    assert paths(part) == [part.depth] == ["logits"]
    assert list(part.weights) == ["logits_kernel", "logits_bias"] and not part.frozen
    assert part.features.output.shape == (None, 4)
    same_features(image_model, part)


def test_a_softmax_after_it_belongs_to_the_head():
    net = keras.Sequential(
        [keras.Input((4,)), layers.Dense(5), layers.Dense(3, name="top"), layers.Softmax()]
    )
    assert paths(part_of(net)) == ["top", net.layers[-1].name]


def test_any_depth_of_the_row(dense_model):
    assert paths(part_of(dense_model, "second")) == ["second", "top"]
    same_features(dense_model, part_of(dense_model, "second"))


@pytest.mark.parametrize("wrapped", [False, True])
def test_inside_of_nested_models(dense_model, wrapped):
    inputs = keras.Input((4,), name="numbers")
    model = keras.Model(inputs, layers.Activation("tanh", name="end")(dense_model(inputs)), name="outer")
    if wrapped:
        outer = keras.Input((4,), name="more")
        model = keras.Model(outer, model(outer), name="wrap")
    part = part_of(model, "second")
    before = "outer/" if wrapped else ""
    assert paths(part) == [f"{before}net/second", f"{before}net/top", f"{before}end"]
    assert part.features.inputs[0].name == ("more" if wrapped else "numbers")
    assert list(part.weights) == ["second_kernel", "second_bias", "top_kernel", "top_bias"]
    same_features(model, part)
    assert part_of(model, f"{before}net/second").depth == part.depth
    with pytest.raises(
        ValueError, match=r"first' is the first layer.*Depths that work: \['.*second', '.*top'\]"
    ):
        part_of(model, "first")


def test_a_nested_model_that_is_used_elsewhere(make_backbone):
    """Its inner tensors belong to itself, and its second call to this model."""
    backbone = make_backbone()
    first = keras.Input((8, 8, 3))
    keras.Model(first, layers.Dense(2)(layers.Flatten()(backbone(first))))
    inputs = keras.Input((8, 8, 3))
    x = layers.Flatten(name="flat")(backbone(inputs))
    model = keras.Model(inputs, layers.Dense(3, name="top")(x))
    part = part_of(model, "flat")
    assert paths(part) == ["flat", "top"]
    same_features(model, part)


def test_a_sequential_made_layer_by_layer():
    model = keras.Sequential(name="grown")
    for layer in (
        keras.Input((4,)),
        layers.Dense(6, name="a"),
        layers.ReLU(name="b"),
        layers.Dense(3, name="c"),
    ):
        model.add(layer)
    assert paths(part_of(model, "b")) == ["b", "c"]
    same_features(model, part_of(model, "b"))


def residual():
    inputs = x = keras.Input((6,))
    x = layers.Dense(6, name="stem")(x)
    y = layers.Dense(6, name="inner")(layers.ReLU(name="act")(x))
    x = layers.Add(name="join")([x, y])
    return keras.Model(inputs, layers.Dense(2, name="top")(layers.ReLU(name="last")(x)), name="res")


@pytest.mark.parametrize("depth", ["inner", "act", "stem", "join"])
def test_a_depth_inside_of_a_residual_is_refused(depth):
    with pytest.raises(
        ValueError,
        match=rf"depth='{depth}' on, 'res' can't train.*'join' \(Add\) stands before, which joins 2 tensors: "
        r"more than one crosses a cut there.*Depths that work: \['last', 'top'\]",
    ):
        part_of(residual(), depth)


def test_a_layer_that_cannot_train_is_named(image_model):
    with pytest.raises(ValueError, match=r"'backbone/add_\d+' \(Add\) stands before|'backbone/.*Add"):
        part_of(image_model, "block_1_a_conv")
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(3, 3, name="conv")(inputs)
    model = keras.Model(inputs, layers.Dense(2, name="top")(layers.Flatten(name="flat")(x)))
    with pytest.raises(
        ValueError, match=r"'conv' \(Conv2D\) stands before, whose derivative.*\['flat', 'top'\]"
    ):
        part_of(model, "conv")


@pytest.mark.parametrize(
    ("depth", "error", "why"),
    [
        ("nothing", ValueError, r"no layer 'nothing'. Depths that work: \['first', 'second', 'top'\]"),
        (2, TypeError, "name of a layer, or 'head'; received 2"),
        ("first", ValueError, "first layer of 'net'"),
    ],
)
def test_depths_that_do_not_exist(dense_model, depth, error, why):
    with pytest.raises(error, match=why):
        part_of(dense_model, depth)


def test_so_many_last_layers(dense_model):
    assert paths(last_layers(dense_model, 2)) == ["second", "top"]


def test_models_that_have_no_such_head():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(3, 3)(inputs)
    with pytest.raises(ValueError, match="no layer with a kernel that can train"):
        part_of(keras.Model(inputs, layers.GlobalAveragePooling2D()(x)))
    with pytest.raises(ValueError, match="one output; .* has 2"):
        part_of(keras.Model(inputs, [x, x]))
    net = keras.Sequential([keras.Input((4,)), layers.Dense(6), layers.Dense(3, name="top")])
    net.trainable = False
    with pytest.raises(ValueError, match="none that train of .*top_kernel.*trainable = True"):
        part_of(net)


def test_two_readings_of_head_are_refused():
    net = keras.Sequential([keras.Input((4,)), layers.Dense(6, name="head"), layers.Dense(3, name="top")])
    with pytest.raises(ValueError, match="'top', and 'head' has that name"):
        part_of(net)


def test_open_sizes_before_the_cut_are_refused():
    inputs = keras.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Conv2D(4, 1)(inputs))
    model = keras.Model(inputs, layers.Dense(2, name="top")(x))
    assert paths(part_of(model)) == ["top"]
    with pytest.raises(ValueError, match=r"before 'pool' have the shape \(None, None, None, 4\)"):
        part_of(model, "pool")


def test_automatic_names_are_counted_anew():
    def build():
        net = [layers.Dense(4), layers.Dense(5, name="mine"), layers.LayerNormalization(), layers.Dense(3)]
        return keras.Sequential([keras.Input((4,)), layers.Dense(6), *net])

    names = []
    for model in (build(), build()):
        links = row_of(model).links[1:]
        assert [v is w for v, w in zip(named_weights(links).values(), model.weights[2:])] == [True] * 8
        names.append(list(named_weights(links)))
    assert names[0] == names[1]
    assert names[0] == [
        "dense_kernel", "dense_bias", "mine_kernel", "mine_bias", "layer_normalization_gamma",
        "layer_normalization_beta", "dense_1_kernel", "dense_1_bias",
    ]  # fmt: skip


def test_names_of_weights_are_unique_and_arguments():
    net = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(4, name="a-b"),
            layers.Dense(4, name="a_b"),
            layers.Dense(2, name="1 2"),
        ]
    )
    (one, two, three) = weight_names(row_of(net).links)
    assert (one["kernel"], two["kernel"]) == ("a_b_kernel", "a_b_kernel_1")
    assert three["kernel"] == "1_2_kernel"


def test_what_stays():
    net = keras.Sequential([keras.Input((4,)), layers.Dense(6, name="a"), layers.BatchNormalization(name="n"),
                            layers.Dense(3, name="top")])  # fmt: skip
    net.layers[2].trainable = False
    part = part_of(net, "n")
    assert list(part.weights) == ["n_gamma", "n_beta"]
    assert list(part.frozen) == ["n_moving_mean", "n_moving_variance", "top_kernel", "top_bias"]
    rest = rest_of(net, part.links, part.weights)
    assert {id(v) for v in rest} | {id(v) for v in part.weights.values()} == {id(v) for v in net.weights}
    assert len(rest) == len(net.weights) - 2


def test_new_classes(dense_model):
    part = part_of(dense_model, "second")
    old = [v.numpy() for v in dense_model.weights]
    made = with_new_classes(part, 7, seed=3)
    again, other = (with_new_classes(part, 7, seed=seed) for seed in (3, 4))
    assert made.output.shape == (None, 7)
    assert [v.shape for v in made.weights][:4] == [v.shape for v in dense_model.weights][:4]
    kernels = [m.weights[-2].numpy() for m in (made, again, other)]
    assert np.array_equal(kernels[0], kernels[1]) and not np.array_equal(kernels[0], kernels[2])
    limit = np.sqrt(6 / (5 + 7))  # Glorot's
    assert 0.5 * limit < np.abs(kernels[0]).max() <= limit and not made.weights[-1].numpy().any()
    # the frozen layer is shared, the hidden one of the part is a copy with its weights
    assert made.weights[0] is dense_model.weights[0]
    assert made.weights[2] is not dense_model.weights[2]
    np.testing.assert_array_equal(made.weights[2], dense_model.weights[2])
    made.weights[2].assign(made.weights[2] + 1)
    for before, after in zip(old, dense_model.weights):
        np.testing.assert_array_equal(before, after.numpy())
    assert list(part_of(made, "second").weights) == list(part.weights)


def test_new_classes_need_a_last_dense():
    net = keras.Sequential(
        [keras.Input((4,)), layers.Dense(6), layers.Dense(3), layers.LayerNormalization(name="n")]
    )
    for depth in ("n", net.layers[1].name):
        with pytest.raises(ValueError, match="last Dense.*'n' \\(LayerNormalization\\)"):
            with_new_classes(part_of(net, depth), 3, 0)
