"""Freezing: what must not move does not, what must move does."""

import keras
import numpy as np
import pytest

import kerasft
from kerasft import _keras
from kerasft.freezing.flags import Flags


def weights_of(stages):
    return {stage.name: [v.numpy().copy() for v in stage.weights] for stage in stages}


def moved(before, stages):
    """Names of stages of which every weight / no weight changed."""
    result = {}
    for stage in stages:
        changed = [not np.array_equal(a, b.numpy()) for a, b in zip(before[stage.name], stage.weights)]
        result[stage.name] = "all" if all(changed) else "some" if any(changed) else "none"
    return result


def compile_and_fit(model, data, **kwargs):
    if not model.compiled:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(0.01), loss)
    return model.fit(*data, batch_size=8, verbose=0, **kwargs)


def test_frozen_stages_are_equal_to_the_bit_and_thawed_ones_move(image_model, image_data):
    stages = kerasft.freeze(image_model, "block_2")
    before = weights_of(stages)
    compile_and_fit(image_model, image_data)
    assert moved(before, stages) == {"stem": "none", "block_1": "none", "block_2": "all", "head": "all"}
    assert kerasft.freeze_depth(image_model) == 2


def test_a_fitted_model_sees_new_flags_without_compile(image_model, image_data):
    stages = kerasft.freeze(image_model, "head")
    compile_and_fit(image_model, image_data)
    optimizer = image_model.optimizer
    before = weights_of(stages)
    kerasft.freeze(image_model, "block_1")
    compile_and_fit(image_model, image_data)
    assert moved(before, stages) == {"stem": "none", "block_1": "all", "block_2": "all", "head": "all"}
    before = weights_of(stages)
    kerasft.freeze(image_model, "head")  # and back: plain Keras would go on training the traced step
    compile_and_fit(image_model, image_data)
    assert moved(before, stages) == {"stem": "none", "block_1": "none", "block_2": "none", "head": "all"}
    assert image_model.optimizer is optimizer
    assert int(optimizer.iterations) == 9


def test_moving_averages_do_not_cross_over_into_frozen_weights(dense_model):
    """`fit` ends by writing averages into the weights that train, which Keras pairs by position."""
    x, y = np.ones((8, 4), "float32"), np.zeros((8, 3), "float32")
    dense_model.compile(keras.optimizers.SGD(0.1, use_ema=True), "mse")
    dense_model.fit(x, y, verbose=0)
    stages = kerasft.freeze(dense_model, "top")
    before = weights_of(stages)
    dense_model.fit(x, y, verbose=0)
    assert moved(before, stages) == {"first": "none", "second": "none", "top": "all"}


def norm_flat(**options):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(4, name="body"),
            layers.BatchNormalization(name="norm", **options),
            layers.Dense(2, name="top"),
        ]
    )


def norm_nested():
    inner = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4, name="body"), keras.layers.BatchNormalization(name="norm")],
        name="backbone",
    )
    inputs = keras.Input((3,))
    return keras.Model(inputs, keras.layers.Dense(2, name="top")(inner(inputs)))


def norm_shared():
    norm = keras.layers.BatchNormalization(name="norm")
    inputs = keras.Input((3,))
    x = norm(keras.layers.Dense(4, name="body")(inputs))
    x = norm(keras.layers.Dense(4, activation="relu", name="again")(x))
    return keras.Model(inputs, keras.layers.Dense(2, name="top")(x))


class Block(keras.layers.Layer):
    """Dense and BatchNormalization in a layer that has a weight of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(4, name="body")
        self.norm = keras.layers.TimeDistributed(keras.layers.BatchNormalization(name="norm"))

    def build(self, shape):
        self.shift = self.add_weight(shape=(4,), initializer="zeros", name="shift")
        self.dense.build(shape)
        self.norm.build((shape[0], 1, 4))

    def call(self, x, training=None):
        y = self.norm((self.dense(x) + self.shift)[:, None], training=training)
        return y[:, 0]


def norm_in_a_layer():
    inputs = keras.Input((3,))
    return keras.Model(inputs, keras.layers.Dense(2, name="top")(Block(name="block_0")(inputs)))


class Subclass(keras.layers.BatchNormalization):
    """Nothing of its own."""


def norm_subclass():
    layers = [keras.layers.Dense(4, name="body"), Subclass(name="norm"), keras.layers.Dense(2, name="top")]
    return keras.Sequential([keras.Input((3,)), *layers])


MODELS = {
    "flat": norm_flat,
    "nested": norm_nested,
    "shared": norm_shared,
    "in a layer": norm_in_a_layer,
    "subclass": norm_subclass,
    "synchronized": lambda: norm_flat(synchronized=True),
    "renorm": lambda: norm_flat(renorm=True),
    "scale only": lambda: norm_flat(center=False),
    "offset only": lambda: norm_flat(scale=False),
    "neither": lambda: norm_flat(scale=False, center=False),
}
STATISTICS, SCALES = {"moving_mean", "moving_variance"}, {"gamma", "beta"}
MOVED = {
    None: STATISTICS | SCALES,
    "train": STATISTICS | SCALES,
    "inference": SCALES,
    "statistics": STATISTICS,
    "frozen": set(),
}
X = np.random.default_rng(0).normal(1.0, 2.0, (16, 3)).astype("float32")
Y = np.random.default_rng(1).normal(size=(16, 2)).astype("float32")


def layer_named(model, name):
    return next(layer for layer in _keras.sublayers(model) if layer.name == name)


class TestBatchNorm:
    """The policy for BatchNormalization: what moves, what does not, what is computed."""

    @pytest.mark.parametrize("name", MODELS)
    def test_each_policy_after_every_change_of_depth(self, name):
        model = MODELS[name]()
        model.compile(keras.optimizers.SGD(0.05), "mse")
        body, norm = layer_named(model, "body"), layer_named(model, "norm")
        has = {w.name for w in norm.weights}
        stages = kerasft.find_stages(model)
        last = len(stages) - 1

        def moved_by_fit():
            before = [w.numpy().copy() for w in [*norm.weights, body.kernel]]
            model.fit(X, Y, batch_size=8, epochs=2, verbose=0)
            weights = zip([*norm.weights, body.kernel], before)
            return {w.name for w, old in weights if not np.array_equal(w.numpy(), old)}

        renorm = {"renorm_mean", "renorm_stddev", "moving_stddev"}
        for policy in ("statistics", "inference", "train", "frozen", None, "statistics", "frozen", None):
            by_batch = policy not in ("inference", "frozen")
            expected = MOVED[policy] | {"kernel"} | (renorm if by_batch else set())
            kerasft.freeze(model, last, policy)
            assert moved_by_fit() == set(), policy
            kerasft.freeze(model, 0, policy)
            assert moved_by_fit() == expected & (has | {"kernel"}), policy
            assert kerasft.freeze_depth(model) == 0
            train = [w.name for w in model.trainable_weights if any(w is v for v in norm.weights)]
            assert set(train) == expected & SCALES & has and len(train) == len(set(train))
            kerasft.freeze(model, len(stages), policy)
            assert model.trainable_weights == [] and norm.trainable is False

    @pytest.mark.parametrize(
        "policy", ["train", "inference", "statistics", None, "frozen", "in a frozen stage"]
    )
    def test_the_step_computes_with_the_statistics_of_the_policy(self, policy):
        model = norm_flat()
        model.compile(keras.optimizers.SGD(0.1), "mse")
        body, norm, top = model.layers
        rng = np.random.default_rng(2)
        norm.set_weights([rng.uniform(0.5, 1.5, 4) for _ in range(4)])
        is_frozen = policy == "in a frozen stage"
        kerasft.freeze(model, "top" if is_frozen else 0, None if is_frozen else policy)
        gamma, beta, moving_mean, moving_variance = (
            w.numpy() for w in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
        )
        y = X @ body.kernel.numpy()
        batch = policy in ("train", "statistics", None)
        mean, variance = (y.mean(0), y.var(0)) if batch else (moving_mean, moving_variance)
        y = (y - mean) / np.sqrt(variance + 1e-3) * gamma + beta
        expected = np.mean((y @ top.kernel.numpy() - Y) ** 2)
        np.testing.assert_allclose(model.train_on_batch(X, Y), expected, rtol=1e-5)
        if batch:
            np.testing.assert_allclose(norm.moving_mean, 0.99 * moving_mean + 0.01 * mean, rtol=1e-5)

    def test_a_stage_of_nothing_but_statistics_counts_as_thawed(self):
        model = norm_flat()
        stages = kerasft.find_stages(model, at=["body", "norm", "top"])
        for policy in ("train", "inference", "statistics"):
            for depth in range(4):
                kerasft.freeze(stages, depth, policy)
                assert kerasft.freeze_depth(stages) == depth

    def test_spectral_normalization_is_not_frozen_in_name_only(self):
        spectral = keras.layers.SpectralNormalization(keras.layers.Dense(4), name="spectral")
        model = keras.Sequential([keras.Input((3,)), spectral, keras.layers.Dense(2, name="top")])
        flags = Flags(model)
        with pytest.raises(ValueError, match="layer 'spectral' is a SpectralNormalization, which rewrites"):
            kerasft.freeze(model, "top")
        assert flags.changed() == []
        kerasft.unfreeze(model, "inference")
        spectral.trainable = False  # what Keras does, and why it is refused
        before = [w.numpy().copy() for w in spectral.weights]
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.fit(X, Y, verbose=0)
        assert any(not np.array_equal(w.numpy(), old) for w, old in zip(spectral.weights, before))


def test_frozen_restores_every_flag(image_model):
    backbone = image_model.get_layer("backbone")
    backbone.get_layer("block_1_a_conv").trainable = False
    flags = [layer.trainable for layer in _keras.sublayers(image_model)]
    variables = [v.trainable for v in image_model.variables]
    with pytest.raises(RuntimeError, match="inside"), kerasft.frozen(image_model, "head") as stages:
        assert kerasft.freeze_depth(image_model) == len(stages) - 1
        raise RuntimeError("inside")
    assert [layer.trainable for layer in _keras.sublayers(image_model)] == flags
    assert [v.trainable for v in image_model.variables] == variables


def test_a_model_switched_off_as_a_whole_thaws(image_model, image_data):
    image_model.get_layer("backbone").trainable = False
    image_model.trainable = False
    assert kerasft.freeze_depth(image_model) == 4
    stages = kerasft.freeze(image_model, 1)
    assert kerasft.freeze_depth(image_model) == 1
    before = weights_of(stages)
    compile_and_fit(image_model, image_data)
    assert moved(before, stages) == {"stem": "none", "block_1": "all", "block_2": "all", "head": "all"}


def test_all_frozen_and_bad_depths(dense_model):
    kerasft.freeze(dense_model, 3)
    assert kerasft.freeze_depth(dense_model) == 3
    assert dense_model.trainable_variables == []
    with pytest.raises(ValueError, match="out of range"):
        kerasft.freeze(dense_model, -1)
    kerasft.unfreeze(dense_model)
    assert len(dense_model.trainable_variables) == 6


def test_a_layer_that_holds_layers_is_frozen_as_one():
    class Block(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.inner = keras.layers.Dense(4)

        def build(self, shape):
            self.scale = self.add_weight(shape=(4,), initializer="ones", name="scale")
            self.inner.build(shape)

        def call(self, x):
            return self.inner(x) * self.scale

    model = keras.Sequential([keras.Input((4,)), Block(name="block_0"), Block(name="block_1")])
    kerasft.freeze(model, 1)
    assert {v.path.split("/")[-3 if "dense" in v.path else -2] for v in model.trainable_variables} == {
        "block_1"
    }
    assert len(model.trainable_variables) == 3
