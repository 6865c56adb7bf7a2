"""StageLayer: a layer of one's own that is a stage by itself, to freezing and to the cache."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from kerasft.export.saved_model import trainable_when_thawed

import kerasft
from kerasft import _keras
from kerasft.cache.cuts.cut import NoCutError
from kerasft.cache.cuts.find import find_cut
from kerasft.cache.inspection import inspect_prefix
from kerasft.freezing.flags import Flags, check_batch_norm
from kerasft.stages.find import find_stages
from kerasft.stages.stage_layer import StageLayer, check_policy

X = np.random.default_rng(0).normal(1.0, 2.0, (16, 3)).astype("float32")
Y = np.random.default_rng(1).normal(size=(16, 2)).astype("float32")
SCALES, STATISTICS = {"scale", "offset"}, {"mean", "variance"}
MOVED = {
    "train": {"kernel"} | SCALES | STATISTICS,
    "inference": {"kernel"} | SCALES,
    "statistics": {"kernel"} | STATISTICS,
    "frozen": {"kernel"},
}


@keras.saving.register_keras_serializable("tests")
class Normed(StageLayer):
    """A product and a normalization by the batch; `has_scale` off, there is none to be held."""

    def __init__(self, units=3, has_scale=True, **kwargs):
        super().__init__(**kwargs)
        self.units, self.has_scale = units, has_scale

    def build(self, shape):
        def add(name, shape, initializer, trainable):
            return self.add_weight(name=name, shape=shape, initializer=initializer, trainable=trainable)

        self.kernel = add("kernel", (shape[-1], self.units), "glorot_uniform", True)
        self.scale = add("scale", (self.units,), "ones", True)
        self.offset = add("offset", (self.units,), "zeros", True)
        self.mean = add("mean", (self.units,), "zeros", False)
        self.variance = add("variance", (self.units,), "ones", False)
        self.set_weight_flags()

    @property
    def scales_and_offsets(self):
        return [weight for weight in self.weights if weight.name in SCALES]

    def check_batch_norm(self, policy):
        super().check_batch_norm(policy)
        if policy in ("statistics", "frozen") and not self.has_scale:
            raise ValueError(f"{self.name!r} has no scale to hold.")

    def call(self, x, training=None):
        y = x @ self.kernel
        mean, variance = self.mean.value, self.variance.value
        if training and self.trainable and self.normalizes_by_batch:
            mean, variance = tf.nn.moments(y, [0])
            self.mean.assign(0.9 * self.mean + 0.1 * mean)
            self.variance.assign(0.9 * self.variance + 0.1 * variance)
        return (y - mean) / tf.sqrt(variance + 1e-3) * self.scale + self.offset

    def get_config(self):
        return {**super().get_config(), "units": self.units, "has_scale": self.has_scale}


def build(**options):
    """Two such stages, which their names alone would put into one block, and a Dense layer."""
    inputs = keras.Input((3,))
    x = Normed(name="block_1_a", **options)(inputs)
    x = Normed(name="block_1_b", **options)(x)
    model = keras.Model(inputs, keras.layers.Dense(2, name="out")(x))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    return model


def moved_by_fit(model, name):
    """Which weights of a layer a fit changes."""
    before = {w.name: w.numpy().copy() for w in model.get_layer(name).weights}
    model.fit(X, Y, batch_size=8, verbose=0)
    return {w.name for w in model.get_layer(name).weights if not np.array_equal(before[w.name], w.numpy())}


def cut_of(model):
    return find_cut(_keras.program(model)).name


def test_each_is_a_stage_and_what_follows_is_the_head():
    model = build()
    assert find_stages(model).names == ["block_1_a", "block_1_b", "head"]
    assert [stage.parameters for stage in find_stages(model)] == [9 + 4 * 3, 9 + 4 * 3, 3 * 2 + 2]


@pytest.mark.parametrize("loaded", ["train", "inference", "statistics", "frozen"])
def test_policies_in_fit_whatever_was_loaded(loaded):
    model = build(batch_norm=loaded)
    a, b = model.layers[1:3]
    for policy in ("statistics", "train", "inference", "frozen", None):
        kerasft.unfreeze(model, policy)
        assert (a.batch_norm, a.loaded_batch_norm) == (policy or loaded, loaded)
        assert kerasft.freeze_depth(model) == 0
        assert moved_by_fit(model, "block_1_a") == MOVED[policy or loaded]
        assert a.updates_itself == (a.batch_norm in ("train", "statistics"))
        kerasft.freeze(model, 1, policy)
        assert kerasft.freeze_depth(model) == 1
        assert moved_by_fit(model, "block_1_a") == set() and a.batch_norm == loaded
        assert not a.updates_itself
        assert moved_by_fit(model, "block_1_b") == MOVED[policy or loaded]
        kerasft.freeze(model, 2, policy)
        assert moved_by_fit(model, "block_1_b") == set() and b.batch_norm == loaded


def test_statistics_alone_keep_a_stage_thawed():
    model = build(batch_norm="train")
    stage = model.layers[1]
    for weight in stage.trainable_when_thawed:
        weight.trainable = False
    assert stage.updates_itself and kerasft.freeze_depth(model) == 0
    stage.batch_norm = "inference"
    for weight in stage.trainable_when_thawed:
        weight.trainable = False
    assert not stage.updates_itself and kerasft.freeze_depth(model) == 1


def test_weights_that_train_when_thawed():
    model = build(batch_norm="statistics")
    stage = model.layers[1]
    assert [w.name for w in stage.trainable_weights] == ["kernel"]
    assert [w.name for w in stage.trainable_when_thawed] == ["kernel", "scale", "offset"]
    kerasft.freeze(model, 3)
    assert [w.name for w in stage.trainable_when_thawed] == ["kernel", "scale", "offset"]
    names = {w.path for w in model.weights if id(w) in trainable_when_thawed(model)}
    expected = {f"block_1_{s}/{w}" for s in "ab" for w in ("kernel", "scale", "offset")}
    assert names == expected | {"out/kernel", "out/bias"}


def test_a_policy_that_a_stage_refuses_changes_nothing():
    model = build(has_scale=False)
    flags, stages = Flags(model), find_stages(model)
    for call in (
        lambda: check_batch_norm("statistics", stages),
        lambda: kerasft.freeze(model, 1, "statistics"),
        lambda: setattr(model.layers[1], "batch_norm", "statistics"),
    ):
        with pytest.raises(ValueError, match="has no scale to hold"):
            call()
    assert flags.changed() == [] and model.layers[1].batch_norm == "inference"
    kerasft.freeze(model, 2, "statistics")  # a frozen stage is not asked
    with kerasft.frozen(model, 1, "train"):
        assert model.layers[2].batch_norm == "train"
    assert model.layers[2].batch_norm == "inference" and kerasft.freeze_depth(model) == 2


@pytest.mark.parametrize("policy", ["off", None, 1, []])
def test_unknown_policies(policy):
    message = re.escape(f'batch_norm is "train", "inference", "statistics" or "frozen", not {policy!r}.')
    for call in (lambda: check_policy(policy), lambda: Normed(batch_norm=policy)):
        with pytest.raises(ValueError, match=message):
            call()


def test_the_cache_cuts_after_a_frozen_stage_and_before_one_that_moves():
    model = build(batch_norm="train")
    with pytest.raises(NoCutError, match="the layer 'block_1_a' trains"):
        cut_of(model)
    kerasft.freeze(model, 1)
    assert cut_of(model) == "block_1_a" and inspect_prefix(model).cut == "block_1_a"
    kerasft.freeze(model, 2)
    assert cut_of(model) == "block_1_b" and inspect_prefix(model).cut == "block_1_b"
    model.layers[1].trainable = True
    for weight in model.layers[1].weights:
        weight.trainable = False  # by hand: nothing but the statistics moves
    with pytest.raises(NoCutError, match="'block_1_a' normalizes by the batch and updates its statistics"):
        cut_of(model)
    model.layers[1].batch_norm = "inference"
    for weight in model.layers[1].weights:
        weight.trainable = False
    assert cut_of(model) == "block_1_b"


def test_cached_training_equals_training_without():
    def train(callbacks):
        keras.utils.set_random_seed(3)
        model = build(batch_norm="train")
        kerasft.freeze(model, 1)
        model.fit(X, Y, batch_size=8, epochs=4, shuffle=False, verbose=0, callbacks=callbacks)
        return model.get_weights()

    cache = kerasft.PrefixCache()
    for expected, found in zip(train([]), train([cache])):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert cache.reason is None


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("policy", ["train", "inference", "statistics", "frozen"])
def test_a_file_keeps_policy_and_flags(depth, policy, tmp_path):
    model = build(batch_norm="train")
    kerasft.freeze(model, depth, policy)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for layer in model.layers[1:3]:
        copy = loaded.get_layer(layer.name)
        assert copy.get_config() == layer.get_config()
        assert [w.trainable for w in copy.weights] == [w.trainable for w in layer.weights]
    np.testing.assert_allclose(loaded(X), model(X), atol=1e-6)


@pytest.mark.parametrize("loaded", ["inference", "statistics", "frozen"])
def test_weights_that_were_switched_off_by_hand_stay_off(loaded):
    """A policy's own flags are no word of the user's, not even in a stage that is loaded with it."""
    model = build(batch_norm=loaded)
    first, second, _ = kerasft.find_stages(model)
    held = set() if loaded == "inference" else SCALES
    first.layers[0].kernel.trainable = False
    second.layers[0].trainable = False
    for depth in (3, 0):
        kerasft.freeze(model, depth)
    names = {w.name for w in first.layers[0].trainable_weights}
    assert names == SCALES - held and not second.layers[0].trainable_weights
    kerasft.unfreeze(model, "train")
    assert {w.name for w in first.layers[0].trainable_weights} == SCALES
    assert not second.layers[0].trainable and not second.layers[0].updates_itself
    before = [w.numpy() for w in [*second.layers[0].weights, first.layers[0].kernel]]
    model.fit(X, Y, batch_size=8, verbose=0)
    after = [*second.layers[0].weights, first.layers[0].kernel]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    kerasft.unfreeze(model, "train", everything=True)
    assert all(
        {"kernel"} | SCALES == {w.name for w in s.layers[0].trainable_weights} for s in (first, second)
    )
