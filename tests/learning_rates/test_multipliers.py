"""Multipliers: which factor a variable gets, and the step that it then takes."""

import keras
import numpy as np
import pytest

import kerasft
from kerasft import _keras
from kerasft._keras.optimizer import extend_optimizer
from kerasft.learning_rates.multipliers import Multipliers

OPTIMIZERS = {
    "adam": lambda rate: keras.optimizers.Adam(rate),
    "adamw": lambda rate: keras.optimizers.AdamW(rate, weight_decay=0.1),
    "momentum": lambda rate: keras.optimizers.SGD(rate, momentum=0.9),
    "nesterov": lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
    "adamw_clipnorm": lambda rate: keras.optimizers.AdamW(rate, weight_decay=0.1, clipnorm=0.5),
    "adam_amsgrad": lambda rate: keras.optimizers.Adam(rate, amsgrad=True),
    "adam_accumulated": lambda rate: keras.optimizers.Adam(rate, gradient_accumulation_steps=2),
}


def variables():
    rng = np.random.default_rng(0)
    return [keras.Variable(rng.normal(size=(3, 2)), name=name, dtype="float32") for name in ("slow", "fast")]


def gradients(step):
    rng = np.random.default_rng(100 + step)
    return [keras.ops.convert_to_tensor(rng.normal(size=(3, 2)).astype("float32")) for _ in range(2)]


def with_factors(optimizer, **factors):
    return kerasft.with_lr_multipliers(optimizer, Multipliers(factors))


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_steps_equal_those_of_a_scaled_learning_rate(kind):
    mine, theirs = variables(), variables()
    optimizer = with_factors(OPTIMIZERS[kind](0.1), slow=0.1)
    optimizer.build(mine)
    alone = [OPTIMIZERS[kind](0.1 * 0.1), OPTIMIZERS[kind](0.1)]
    for other, variable in zip(alone, theirs):
        other.build([variable])
    for step in range(20):
        optimizer.apply(gradients(step), mine)
        for other, variable, gradient in zip(alone, theirs, gradients(step)):
            other.apply([gradient], [variable])
        for a, b in zip(mine, theirs):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
    assert not np.allclose(mine[0], variables()[0])


@pytest.mark.parametrize("kind", [k for k in OPTIMIZERS if k != "adam_accumulated"])
def test_a_late_thaw_begins_like_a_fresh_optimizer(kind):
    mine = variables()
    optimizer = with_factors(OPTIMIZERS[kind](0.01))
    optimizer.build(mine)
    for step in range(500):
        optimizer.apply(gradients(step)[1:], mine[1:])
    assert np.array_equal(mine[0], variables()[0])
    fresh, reference = OPTIMIZERS[kind](0.01), variables()[0]
    fresh.build([reference])
    for step in range(500, 512):
        optimizer.apply(gradients(step), mine)
        fresh.apply(gradients(step)[:1], [reference])
        np.testing.assert_allclose(mine[0], reference, rtol=1e-6, atol=1e-7)


def test_plain_keras_takes_a_late_step_that_is_too_long():
    """The reason for it all: with one count for all variables, the first step is about 3.2 times too long."""
    mine = variables()
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(mine)
    optimizer.iterations.assign(5000)
    before = mine[0].numpy().copy()
    optimizer.apply(gradients(0), mine)
    # m = 0.1 g, v = 0.001 g²: 0.1 / sqrt(0.001) = 3.16 steps, bias hardly corrected any more
    np.testing.assert_allclose(np.abs(mine[0] - before), 0.01 * 0.1 / np.sqrt(0.001), rtol=1e-2)


def test_a_factor_of_zero_means_no_movement_even_with_momentum_and_decay():
    mine = variables()
    optimizer = with_factors(keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.1))
    optimizer.build(mine)
    optimizer.apply(gradients(0), mine)
    _keras.inner_optimizer(optimizer).set_multipliers({"slow": 0.0})
    before = [v.numpy().copy() for v in mine]
    optimizer.apply(gradients(1), mine)
    assert np.array_equal(before[0], mine[0])
    assert not np.array_equal(before[1], mine[1])


def test_weight_decay_is_scaled_or_not():
    zero = [keras.ops.zeros((3, 2))] * 2
    for scale, factor in ((True, 0.1), (False, 1.0)):
        mine = variables()
        optimizer = kerasft.with_lr_multipliers(
            keras.optimizers.AdamW(0.5, weight_decay=0.2),
            Multipliers({"slow": 0.1}),
            scale_weight_decay=scale,
        )
        optimizer.build(mine)
        before = [v.numpy().copy() for v in mine]
        optimizer.apply(zero, mine)
        np.testing.assert_allclose(mine[0], before[0] * (1 - 0.5 * 0.2 * factor), rtol=1e-6)
        np.testing.assert_allclose(mine[1], before[1] * (1 - 0.5 * 0.2), rtol=1e-6)


def test_vectors_decay_or_not(tmp_path):
    """Plain Keras, told the same weights by name, is the reference; a file keeps the choice."""

    def build(optimizer):
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Dense(3, bias_initializer="ones"), keras.layers.LayerNormalization()]
        model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(2)])
        model.compile(optimizer, "mse")
        return model

    def optimizer():
        return keras.optimizers.AdamW(0.1, weight_decay=0.2)

    plain = build(optimizer())
    plain.optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    made = build(kerasft.with_lr_multipliers(optimizer(), Multipliers({}), decay_vectors=False))
    made.optimizer.build(made.trainable_variables)
    made.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    decays = build(kerasft.with_lr_multipliers(optimizer(), Multipliers({})))
    x, y = np.ones((4, 4), "float32"), np.ones((4, 2), "float32")
    for model in (plain, loaded, decays):
        model.train_on_batch(x, y)
    differ = []
    for a, b, c in zip(plain.weights, loaded.weights, decays.weights, strict=True):
        np.testing.assert_array_equal(a, b)
        differ += [a.name] * (not np.array_equal(a, c))
    assert differ == ["bias", "gamma"]  # those that began at 1; the others at 0


def test_how_vectors_decay_may_change_while_the_optimizer_trains(dense_model):
    optimizer = kerasft.with_lr_multipliers(keras.optimizers.AdamW(0.1, weight_decay=0.2), Multipliers({}))
    dense_model.compile(optimizer, "mse")
    dense_model.train_on_batch(np.ones((2, 4)), np.ones((2, 3)))
    with pytest.raises(ValueError, match="how weights decay changes"):
        kerasft.with_lr_multipliers(optimizer, Multipliers({}), decay_vectors=False)
    kerasft.with_lr_multipliers(optimizer, Multipliers({}), model=dense_model, decay_vectors=False)
    before = [w.numpy().copy() for w in dense_model.weights]
    optimizer.learning_rate = 1e-30  # Adam's own step vanishes, and decay with it: so the decay is raised
    optimizer.weight_decay = 1e29
    dense_model.train_on_batch(np.ones((2, 4)), np.ones((2, 3)))
    for a, b in zip(before, dense_model.weights, strict=True):
        np.testing.assert_allclose(b, a * (0.9 if a.ndim > 1 else 1.0), rtol=1e-5)


def test_moving_averages_stay_with_their_own_variables():
    """Keras writes averages back by position; with one variable frozen that is another's place."""
    mine = variables()
    optimizer = with_factors(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))
    optimizer.build(mine)
    frozen = mine[0].numpy().copy()
    expected = mine[1].numpy().copy()
    weight, average = expected.copy(), np.zeros_like(expected)
    for step in range(3):
        optimizer.apply(gradients(step)[1:], mine[1:])
        weight = weight - 0.1 * np.asarray(gradients(step)[1])
        average = weight if step == 0 else 0.5 * average + 0.5 * weight
    optimizer.finalize_variable_values(mine[1:])
    assert np.array_equal(mine[0], frozen)
    np.testing.assert_allclose(mine[1], average, rtol=1e-6)


def test_the_optimizer_stays_what_it_was(dense_model):
    optimizer = keras.optimizers.AdamW(0.001, weight_decay=0.01)
    same = kerasft.with_lr_multipliers(optimizer, kerasft.layerwise_decay(dense_model, 0.5))
    assert same is optimizer
    assert isinstance(optimizer, keras.optimizers.AdamW)
    assert float(optimizer.learning_rate) == pytest.approx(0.001)
    optimizer.learning_rate = 0.5
    assert float(optimizer.learning_rate) == 0.5


def test_a_saved_model_keeps_factors_and_state(dense_model, tmp_path):
    x, y = np.ones((8, 4), "float32"), np.zeros((8, 3), "float32")
    optimizer = kerasft.with_lr_multipliers(
        keras.optimizers.AdamW(0.01), {"first": 0.0, "second": 0.5}, model=dense_model
    )
    dense_model.compile(optimizer, "mse")
    dense_model.fit(x, y, epochs=2, verbose=0)
    dense_model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.optimizer, keras.optimizers.AdamW)
    assert dict(loaded.optimizer.lr_multipliers) == dict(optimizer.lr_multipliers)
    for model in (dense_model, loaded):
        model.fit(x, y, epochs=2, verbose=0, shuffle=False)
    for a, b in zip(dense_model.weights, loaded.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert int(loaded.optimizer.iterations) == 4


def test_factors_hold_inside_fit(dense_model):
    """`fit` builds the optimizer itself, in a scope of its own."""
    x, y = np.ones((8, 4), "float32"), np.zeros((8, 3), "float32")
    optimizer = kerasft.with_lr_multipliers(
        keras.optimizers.Adam(0.01), {"first": 0.0, "second": 0.5}, model=dense_model
    )
    before = [w.numpy().copy() for w in dense_model.weights]
    dense_model.compile(optimizer, "mse")
    dense_model.fit(x, y, epochs=1, verbose=0)
    moves = [np.abs(w.numpy() - b).max() for w, b in zip(dense_model.weights, before)]
    # Adam's first step is the learning rate for every weight with a gradient
    np.testing.assert_allclose(moves, [0, 0, 0.005, 0.005, 0.01, 0.01], rtol=1e-3)


def test_layerwise_decay_and_discriminative(dense_model):
    assert dict(kerasft.layerwise_decay(dense_model, 0.5)) == {
        "net/first/kernel": 0.25,  # 0.5 ** (2 - 0)
        "net/first/bias": 0.25,
        "net/second/kernel": 0.5,
        "net/second/bias": 0.5,
        "net/top/kernel": 1.0,
        "net/top/bias": 1.0,
    }
    between = kerasft.layerwise_decay(
        dense_model, low=0.02, high=0.5
    )  # 0.5 / 0.02 is 25: a factor of 5 a stage
    assert list(between.values()) == pytest.approx([0.02, 0.02, 0.1, 0.1, 0.5, 0.5])
    for wrong in ({}, {"decay": 0.5, "low": 0.1}):
        with pytest.raises(ValueError, match=r"takes decay, or low; received"):
            kerasft.layerwise_decay(dense_model, **wrong)
    rates = kerasft.discriminative(dense_model)
    assert rates["net/second/kernel"] == pytest.approx(1 / 2.6)  # ULMFiT, section 3.2
    assert rates["net/first/kernel"] == pytest.approx(1 / 2.6**2)


def test_names_globs_and_the_first_match(image_model):
    factors = kerasft.resolve_multipliers(
        image_model, {"block_1": 0.5, "block_*_a_conv": 0.25, "backbone": 0.1}, default=2.0
    )
    by_name = {path.split("/")[-2]: f for path, f in factors.items()}
    assert by_name["block_1_a_conv"] == 0.5  # the stage comes first
    assert by_name["block_2_a_conv"] == 0.25
    assert by_name["stem_conv"] == 0.1  # through the nested model around it
    assert by_name["logits"] == 2.0


@pytest.fixture
def towers():
    """`student` and `teacher`, each with layers `body` and `head`, and `top` over both."""
    inputs = keras.Input((4,))
    both = []
    for name in ("student", "teacher"):
        inner = [keras.layers.Dense(3, name="body"), keras.layers.Dense(4, name="head")]
        both.append(keras.Sequential([keras.Input((4,)), *inner], name=name)(inputs))
    return keras.Model(inputs, keras.layers.Dense(1, name="top")(keras.layers.Subtract()(both)), name="net")


@pytest.mark.parametrize(
    ("address", "at", "slowed"),
    [
        ("student/body", None, ["student/body"]),
        ("teacher", None, ["teacher/body", "teacher/head"]),
        ("*/body", None, ["student/body", "teacher/body"]),
        ("student/*", None, ["student/body", "student/head"]),
        # a stage's name comes before a layer's: these stages begin at that layer, and end elsewhere
        ("student", ["student", "student/head", "teacher/body"], ["student/body"]),
        ("student/head", ["student/body", "student/head", "teacher/head"], ["student/head", "teacher/body"]),
    ],
)
def test_an_address_means_its_layers_and_no_others(towers, address, at, slowed):
    factors = kerasft.resolve_multipliers(kerasft.find_stages(towers, at), {address: 0.5})
    assert {path for path, factor in factors.items() if factor == 0.5} == {
        f"{layer}/{kind}" for layer in slowed for kind in ("kernel", "bias")
    }
    assert len(factors) == 10


def test_a_name_of_several_layers_is_refused_with_their_paths(towers):
    with pytest.raises(ValueError, match=r"names 'body', .* \['student/body', 'teacher/body'\]"):
        kerasft.resolve_multipliers(towers, {"body": 0.5})
    series = keras.Sequential([keras.Input((4,)), *(keras.models.clone_model(m) for m in towers.layers[1:3])])
    assert kerasft.find_stages(series).names[::2] == ["body", "body_2"]  # one of them a stage of that name
    with pytest.raises(ValueError, match=r"names 'body', .* \['student/body', 'teacher/body'\]"):
        kerasft.with_lr_multipliers(keras.optimizers.SGD(), {"body": 0.5}, model=series)


def test_a_stage_whose_name_is_also_that_of_a_layer_elsewhere():
    """`head` is what follows the backbone, also where the backbone has a layer `head`, which has a path."""
    x = keras.Input((4,))
    inner = keras.layers.Dense(4, name="head")(keras.layers.Dense(4, name="body")(x))
    backbone = keras.Model(x, inner, name="backbone")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(1, name="top")(backbone(inputs)))
    for address, layer in (("head", "top"), ("backbone/head", "head")):
        factors = kerasft.resolve_multipliers(model, {address: 0.5})
        assert {p for p, f in factors.items() if f == 0.5} == {f"{layer}/kernel", f"{layer}/bias"}


def test_new_factors_for_an_optimizer_that_has_trained(dense_model):
    x, y = np.ones((8, 4), "float32"), np.ones((8, 3), "float32")
    optimizer = kerasft.with_lr_multipliers(
        keras.optimizers.SGD(0.01, momentum=0.9), {"first": 0.5}, model=dense_model
    )
    dense_model.compile(optimizer, "mse")
    dense_model.fit(x, y, verbose=0)
    frozen = kerasft.resolve_multipliers(dense_model, {"first": 0.0})
    with pytest.raises(ValueError, match="Pass the model"):
        kerasft.with_lr_multipliers(optimizer, frozen)
    kernel = dense_model.get_layer("first").kernel.numpy()
    dense_model.fit(x, y, verbose=0)
    assert not np.array_equal(dense_model.get_layer("first").kernel, kernel)  # the refusal changed nothing
    kernel = dense_model.get_layer("first").kernel.numpy()
    kerasft.with_lr_multipliers(optimizer, frozen, model=dense_model)
    dense_model.fit(x, y, verbose=0)
    assert np.array_equal(dense_model.get_layer("first").kernel, kernel)
    top = dense_model.get_layer("top").kernel.numpy()
    kerasft.with_lr_multipliers(
        optimizer, kerasft.resolve_multipliers(dense_model, {"first": 0.0, "top": 2.0})
    )
    dense_model.fit(x, y, verbose=0)
    assert not np.array_equal(dense_model.get_layer("top").kernel, top)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        pytest.param(
            lambda m: kerasft.with_lr_multipliers(
                keras.optimizers.MultiOptimizer(lambda v: keras.optimizers.SGD()),
                kerasft.layerwise_decay(m, 0.5),
            ),
            ValueError,
            "MultiOptimizer is several",
            marks=pytest.mark.skipif(
                not hasattr(keras.optimizers, "MultiOptimizer"), reason="of a newer Keras"
            ),
        ),
        (lambda m: kerasft.resolve_multipliers(m, {"nose": 1.0}), ValueError, r"\['nose'\].*'first'"),
        (
            lambda m: kerasft.resolve_multipliers(m, {"first": -1.0}),
            ValueError,
            "of at least 0; received -1.0",
        ),
        (lambda m: kerasft.resolve_multipliers(m, {"first": float("nan")}), ValueError, "received nan"),
        (lambda m: kerasft.resolve_multipliers(m, {"first": "fast"}), TypeError, "number"),
        (lambda m: kerasft.resolve_multipliers({"first": 0.5}, m), TypeError, "keras.Model or its Stages"),
        (
            lambda m: kerasft.resolve_multipliers(m, [0.5, 1]),
            TypeError,
            r"`rules` maps .*received \[0.5, 1\]",
        ),
        (lambda m: kerasft.resolve_multipliers(m, {0: 0.5}), TypeError, r"keys; received \[0\]"),
        (
            lambda m: kerasft.with_lr_multipliers(keras.optimizers.Adam(), [0.1, 1], model=m),
            TypeError,
            r"`multipliers` maps names .*received \[0.1, 1\]",
        ),
        (
            lambda m: kerasft.with_lr_multipliers(
                keras.optimizers.Adam(), kerasft.layerwise_decay(m, 0.5), model={"first": 0.5}
            ),
            TypeError,
            "keras.Model or its Stages, not {'first'",
        ),
        (lambda m: kerasft.layerwise_decay(m, 0), ValueError, "above 0"),
        (lambda m: kerasft.discriminative(m, "x"), TypeError, "number"),
        (lambda m: kerasft.with_lr_multipliers("adam", {}), TypeError, "Keras optimizer"),
        (
            lambda m: kerasft.with_lr_multipliers(keras.optimizers.Adam(), {"first": 0.1}),
            ValueError,
            "pass model=",
        ),
        (
            lambda m: kerasft.with_lr_multipliers(keras.optimizers.Ftrl(), kerasft.layerwise_decay(m, 0.5)),
            ValueError,
            "Ftrl",
        ),
        (
            lambda m: kerasft.with_lr_multipliers(
                keras.optimizers.Adafactor(), kerasft.layerwise_decay(m, 0.5)
            ),
            ValueError,
            "relative_step=False",
        ),
    ],
)
def test_bad_input(dense_model, call, error, message):
    with pytest.raises(error, match=message):
        call(dense_model)


def test_layers_of_one_name_in_several_models_have_factors_of_their_own(tmp_path):
    """Keras gives both kernels the path `fc/kernel`; the steps are those of SGD: rate, factor, gradient 1."""
    h = inputs = keras.Input((1,))
    for k in range(2):
        q = keras.Input((1,))
        layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", name="fc")
        h = keras.Model(q, layer(q), name=f"blk{k}")(h)
    model = keras.Model(inputs, h)
    first, second = model.variables
    assert first.path == second.path == "fc/kernel"
    factors = kerasft.layerwise_decay(model, 0.5)
    assert dict(factors) == {"fc/kernel": 0.5, "fc/kernel#2": 1.0}
    for address in ("blk1/fc", "blk1"):
        own = kerasft.resolve_multipliers(model, {address: 0.25})
        assert dict(own) == {"fc/kernel": 1.0, "fc/kernel#2": 0.25}
    ones = keras.ops.ones((1, 1))

    def step(optimizer, variables):
        for variable in variables:
            variable.assign([[0.0]])
        optimizer.apply([ones] * len(variables), variables)
        return [float(v.numpy()[0, 0]) for v in variables]

    def sgd(multipliers):
        return kerasft.with_lr_multipliers(keras.optimizers.SGD(1.0), multipliers)

    assert step(sgd(own), [first, second]) == [-1.0, -0.25]
    assert step(sgd(own), [second, first]) == [-0.25, -1.0]  # an optimizer has an order of its own
    part = sgd(own)
    assert step(part, [second]) == [-0.25]  # `blk0` was frozen when the optimizer was built
    copies = [keras.Variable([[0.0]], name="kernel") for _ in range(2)]
    for copy in copies:
        copy._path = "fc/kernel"
    saved = keras.optimizers.deserialize(keras.optimizers.serialize(part))
    assert step(saved, copies[1:]) == [-0.25]
    for optimizer, variables in ((part, [first, second]), (saved, copies)):
        extend_optimizer(optimizer, variables)
        assert step(optimizer, variables) == [-1.0, -0.25]
    with pytest.raises(ValueError, match=r"1 weights of the path 'fc/kernel'.*nothing tells which"):
        step(sgd(Multipliers(dict(own))), copies[1:])
    model.compile(sgd(own), "mse")
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert step(loaded.optimizer, loaded.trainable_variables) == [-1.0, -0.25]
