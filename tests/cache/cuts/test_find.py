"""Cuts lie where all before them is frozen and deterministic; the parts give what the whole gives."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasft
from kerasft import _keras
from kerasft.cache.cuts import prefix as cuts
from kerasft.cache.cuts.cut import NoCutError
from kerasft.cache.cuts.find import find_cut
from kerasft.cache.cuts.prefix import trace_prefix


def cut_of(model, nondeterministic=()):
    return find_cut(_keras.program(model), nondeterministic)


def spec_of(model):
    return _keras.program(model).signature


def parts(model, x, training=False):
    """Outputs by way of the traced prefix and the suffix."""
    program = _keras.program(model)
    prefix = trace_prefix(lambda known: [find_cut(program, known)], spec_of(model), training, set())
    (values,), (masks,), extra_inputs = prefix(keras.tree.map_structure(tf.convert_to_tensor, x))
    inputs = dict(zip(prefix.extra_inputs, extra_inputs, strict=True))
    values = [_keras.with_mask(value, mask) for value, mask in zip(values, masks, strict=True)]
    return prefix.cuts[0].suffix(values, inputs, training)


def freeze(model, *names):
    for layer in _keras.sublayers(model):
        if layer.name in names:
            layer.trainable = False
    return model


def test_the_deepest_cut(dense_model):
    assert cut_of(freeze(dense_model, "first")).name == "first"
    assert cut_of(freeze(dense_model, "second")).name == "second"
    assert len(cut_of(dense_model).weights) == 4
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    np.testing.assert_array_equal(parts(dense_model, x), dense_model(x))


def test_a_layer_that_is_frozen_behind_one_that_trains_does_not_count(dense_model):
    with pytest.raises(NoCutError, match="Nothing frozen comes first: the layer 'first' trains"):
        cut_of(freeze(dense_model, "second"))


def test_what_follows_frozen_layers_without_weights_is_before_the_cut(image_model):
    kerasft.freeze(image_model, "head")
    cut = cut_of(image_model)
    assert cut.name.startswith("global_average_pooling2d") and cut.tensors[0].shape == (None, 4)
    x = np.random.default_rng(0).uniform(0, 255, (3, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(parts(image_model, x), image_model(x))


@pytest.mark.parametrize(("depth", "name"), [("block_1", "re_lu"), ("block_2", "re_lu")])
def test_cuts_inside_nested_models(image_model, depth, name):
    kerasft.freeze(image_model, depth)
    cut = cut_of(image_model)
    assert cut.name.startswith(name)
    frozen = [
        v.path for stage in kerasft.find_stages(image_model) if not stage.trainable for v in stage.weights
    ]
    assert sorted(v.path for v in cut.weights) == sorted(frozen)
    x = np.random.default_rng(0).uniform(0, 255, (3, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(parts(image_model, x), image_model(x), atol=1e-6)


def test_nothing_trains_and_nothing_is_frozen(dense_model):
    with pytest.raises(NoCutError, match="the layer 'first' trains"):
        cut_of(dense_model)
    dense_model.trainable = False
    with pytest.raises(NoCutError, match="Nothing trains"):
        cut_of(dense_model)


def test_a_batch_normalization_that_adapts_is_not_frozen():
    inputs = keras.Input((3,))
    x = keras.layers.Dense(3, trainable=False, name="a")(inputs)
    x = keras.layers.BatchNormalization(scale=False, center=False, name="bn")(x)
    x = keras.layers.Dense(3, trainable=False, name="b")(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    assert cut_of(model).name == "a"
    model.get_layer("bn").trainable = False
    assert cut_of(model).name == "b"


def test_a_dropout_stays_active_but_one_without_a_rate_does_nothing():
    for rate, name in ((0.5, "a"), (0.0, "b")):
        inputs = keras.Input((3,))
        x = keras.layers.Dense(3, trainable=False, name="a")(inputs)
        x = keras.layers.Dropout(rate)(x)
        x = keras.layers.Dense(3, trainable=False, name="b")(x)
        assert cut_of(keras.Model(inputs, keras.layers.Dense(2)(x))).name == name


def test_recurrent_layers_have_random_generators_that_they_do_not_use():
    for rate, name in ((0.5, "dense"), (0.0, "lstm")):
        inputs = keras.Input((5, 2))
        x = keras.layers.Dense(3, trainable=False, name="dense")(inputs)
        x = keras.layers.LSTM(3, trainable=False, recurrent_dropout=rate, name="lstm")(x)
        model = keras.Model(inputs, keras.layers.Dense(2)(x))
        program = _keras.program(model)
        prefix = trace_prefix(lambda known, p=program: [find_cut(p, known)], spec_of(model), True, set())
        assert prefix.cuts[0].name == name


def test_shared_layers_and_inputs_beside_the_cut():
    a, b = keras.Input((4,), name="a"), keras.Input((2,), name="b")
    body = keras.layers.Dense(3, trainable=False, name="body")
    x = keras.layers.Add(name="sum")([body(a), keras.ops.flip(body(a), 1)])
    joined = keras.layers.Concatenate()([x, keras.layers.Dense(2)(keras.layers.Rescaling(2.0)(b))])
    model = keras.Model({"a": a, "b": b}, {"out": keras.layers.Dense(2)(joined)})
    cut = cut_of(model)
    assert cut.name == "sum" and len(cut.extra_inputs) == 1
    x = {"a": np.ones((2, 4), "float32"), "b": np.ones((2, 2), "float32")}
    np.testing.assert_array_equal(parts(model, x)["out"], model(x)["out"])


def test_a_model_that_is_called_twice():
    body = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, trainable=False)])
    a, b = keras.Input((3,)), keras.Input((3,))
    x = keras.layers.Concatenate(name="both")([body(a), body(b)])
    model = keras.Model([a, b], keras.layers.Dense(2)(x))
    assert cut_of(model).name == "both"
    x = [np.ones((2, 3), "float32"), np.zeros((2, 3), "float32")]
    np.testing.assert_array_equal(parts(model, x), model(x))


def test_two_frozen_branches_are_both_recorded():
    a, b = keras.Input((9, 9, 1)), keras.Input((3,))
    x = keras.layers.Flatten()(keras.layers.Conv2D(2, 3, trainable=False, name="image")(a))
    y = keras.layers.Dense(3, trainable=False, name="table")(b)
    x = keras.layers.Concatenate()([keras.layers.Dense(2)(x), keras.layers.Dense(2)(y)])
    model = keras.Model([a, b], keras.layers.Dense(2)(x))
    cut = cut_of(model)
    assert sorted(name[:5] for name in cut.name.split(" + ")) == ["flatt", "table"]
    assert cut.extra_inputs == () and {x.name for x in cut.layers} >= {"image", "table"}
    x = [np.ones((2, 9, 9, 1), "float32"), np.zeros((2, 3), "float32")]
    np.testing.assert_array_equal(parts(model, x), model(x))


def test_inside_a_residual_block_what_the_skip_carries_is_recorded_too():
    inputs = keras.Input((4,))
    x = keras.layers.Dense(4, trainable=False, name="stem")(inputs)
    y = keras.layers.Dense(4, trainable=False, name="inner")(x)
    y = keras.layers.Dense(4, name="trained")(y)
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Add()([x, y])))
    cut = cut_of(model)
    assert cut.name == "stem + inner" and cut.position < 0
    # 2 layers of 4 x 4 weights and 4 offsets of 3, and one of 4 x 2 with 2: 40 of 70 are spared
    assert cut.share == pytest.approx(40 / 70)
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    np.testing.assert_array_equal(parts(model, x), model(x))


def test_a_layer_with_several_outputs_crosses_as_a_whole():
    inputs = keras.Input((5, 3))
    lstm = keras.layers.LSTM(4, return_sequences=True, return_state=True, trainable=False, name="first")
    x, h, c = lstm(inputs)
    x = keras.layers.LSTM(4)(x, initial_state=[h, c])
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    assert cut_of(model).name == "first + first + first"
    x = np.random.default_rng(0).normal(size=(3, 5, 3)).astype("float32")
    np.testing.assert_allclose(parts(model, x), model(x), atol=1e-6)


def test_what_is_cheap_and_large_is_computed_again():
    inputs = keras.Input((8,))
    x = keras.layers.Dense(256, trainable=False)(inputs)
    for i in range(30):
        x = keras.layers.Dense(256, trainable=False, name=f"layer_{i}")(x)
    wide = keras.layers.Dense(1900, trainable=False, name="wide")(inputs)  # 17,100 of two million
    x = keras.layers.Dense(2, name="top")(keras.layers.Dense(2)(x))
    model = keras.Model(inputs, keras.layers.Concatenate()([x, keras.layers.Dense(2)(wide)]))
    cut = cut_of(model)
    assert cut.name == "layer_29" and len(cut.extra_inputs) == 1 and 0.98 < cut.share < 0.995
    x = np.random.default_rng(0).normal(size=(3, 8)).astype("float32")
    np.testing.assert_allclose(parts(model, x), model(x), rtol=1e-5)


def test_a_mask_is_computed_again_from_the_inputs():
    """So a record at the layer that earlier versions cut at is found."""
    inputs = keras.Input((5,), dtype="int32")
    x = keras.layers.Embedding(9, 16, mask_zero=True, trainable=False)(inputs)
    x = keras.layers.Dense(16, trainable=False, name="body")(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.LSTM(3)(x)))
    cut = cut_of(model)
    assert cut.name == "body" and len(cut.extra_inputs) == 1
    x = np.random.default_rng(0).integers(0, 3, (4, 5)).astype("int32")
    np.testing.assert_allclose(parts(model, x), model(x), atol=1e-6)


def test_of_equal_frontiers_the_one_with_fewer_bytes_is_recorded():
    inputs = keras.Input((8,))
    x = keras.layers.Dense(16, trainable=False, name="body")(inputs)
    wide = keras.layers.Concatenate(name="wide")([x] * 9)
    assert cut_of(keras.Model(inputs, keras.layers.Dense(2, name="top")(wide))).name == "body"


RNG = np.random.default_rng(0)


@keras.saving.register_keras_serializable("tests")
class Surprise(keras.layers.Layer):
    """Draws random numbers outside TensorFlow while the model trains."""

    def call(self, inputs, training=False):
        if not training:
            return inputs
        noisy = tf.numpy_function(lambda x: x * np.float32(RNG.random()), [inputs], tf.float32)
        return tf.ensure_shape(noisy, inputs.shape)


def test_tracing_finds_what_flags_do_not_tell():
    inputs = keras.Input((3,))
    x = keras.layers.Dense(3, trainable=False, name="a")(inputs)
    x = keras.layers.Dense(3, trainable=False, name="b")(Surprise()(x))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    program, nondeterministic = _keras.program(model), set()

    def plan(nondeterministic):
        return [find_cut(program, nondeterministic)]

    assert plan(nondeterministic)[0].name == "b"
    assert trace_prefix(plan, spec_of(model), True, nondeterministic).cuts[0].name == "a"
    assert [program.operations[i].layer.name for i in nondeterministic] == ["surprise"]
    assert trace_prefix(plan, spec_of(model), False, set()).cuts[0].name == "b"


def test_a_digest_names_what_the_prefix_computes():
    def build(activation="relu", name=None, last=2):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((3,))
        x = keras.layers.Dense(3, activation, trainable=False, name=name)(inputs)
        return keras.Model(inputs, keras.layers.Dense(last)(x))

    digest = cut_of(build()).digest
    assert (
        digest == cut_of(build()).digest == cut_of(build(name="other")).digest == cut_of(build(last=5)).digest
    )
    assert digest != cut_of(build("tanh")).digest
    model = build()
    model.layers[1].bias.assign([0.0, 0.0, 1e-6])
    assert digest != cut_of(model).digest


def test_a_hub_stage_with_a_mask_beside_it(tmp_path, make_backbone):
    kerasft.export.to_saved_model(make_backbone(), tmp_path / "saved", reusable=True)
    backbone = kerasft.hub.load_backbone(tmp_path / "saved", batch_norm="train")
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(
        inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(backbone(inputs)))
    )
    kerasft.freeze(model, "block_2")
    assert cut_of(model).name == "block_1"
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(parts(model, x), model(x, training=False), atol=1e-6)


@keras.saving.register_keras_serializable("tests")
class Louder(keras.layers.Layer):
    """Twice as loud while the model trains."""

    def call(self, inputs, training=False):
        return inputs * 2 if training else inputs


@pytest.mark.parametrize(
    ("layer", "shared"),
    [
        (lambda: keras.layers.BatchNormalization(trainable=False), True),
        (lambda: keras.layers.ReLU(), True),
        (lambda: Louder(), False),
    ],
)  # fmt: skip
def test_a_prefix_serves_tests_as_well_if_training_makes_no_difference(layer, shared, monkeypatch):
    traces, trace = [], cuts._traced
    monkeypatch.setattr(cuts, "_traced", lambda *given: traces.append(1) or trace(*given))
    inputs = keras.Input((4, 3))
    x = layer()(keras.layers.Conv1D(3, 2, trainable=False)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    program, traced = _keras.program(model), []

    def plan(nondeterministic):
        return [find_cut(program, nondeterministic)]

    prefixes = [trace_prefix(plan, spec_of(model), mode, set(), traced) for mode in (True, False)]
    assert (prefixes[0] is prefixes[1]) == shared and len(traces) == (1 if shared else 2)
    x = np.random.default_rng(0).normal(size=(9, 4, 3)).astype("float32")
    for prefix, mode in zip(prefixes, (True, False), strict=True):
        ((value,),), _, _ = prefix(x)
        inner = keras.Model(inputs, program.operations[prefix.cuts[0].position].outputs[0])
        np.testing.assert_array_equal(value, inner(x, training=mode))
    other = tf.TensorSpec((None, 4, 3), tf.float64)
    assert trace_prefix(plan, other, True, set(), traced) not in prefixes


def test_an_input_of_a_nested_model_that_is_read_behind_the_cut():
    x, mask = keras.Input((4,), name="x"), keras.Input((6,), name="mask")
    y = keras.layers.Dense(6, name="first")(x)
    y = keras.layers.Multiply(name="masked")([keras.layers.Dense(6, name="second")(y), mask])
    inner = keras.Model({"x": x, "mask": mask}, y, name="inner")
    inputs = {"x": keras.Input((4,), name="x"), "mask": keras.Input((6,), name="mask")}
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(inner(inputs)))
    model.compile("sgd", "mse")
    kerasft.freeze(model, "second")
    report = kerasft.inspect_prefix(model)
    assert report.share > 0.3 and report.bytes_per_sample <= (6 + 6) * 4
