"""HubStage as a Keras layer: weights, policies, configuration, tampered files."""

import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasft
from kerasft.freezing.flags import Flags
from kerasft.hub.graph_function import GraphFunction
from kerasft.hub.hub_stage import HubStage
from kerasft.hub.load import load_backbone
from kerasft.stages.stage_layer import StageLayer

X = np.random.default_rng(7).normal(size=(3, 4)).astype("float32")


@pytest.fixture
def chain_model(saved):
    return load_backbone(saved("chain"))


def first_stage(model):
    return next(layer for layer in model.layers if isinstance(layer, HubStage))


def evil_graph(base):
    """The same function with a file read added."""
    graph = tf.compat.v1.GraphDef.FromString(base.graph)
    with tf.Graph().as_default() as other:
        tf.io.read_file("/etc/hostname", name="evil")
    graph.node.extend(other.as_graph_def().node)
    return GraphFunction(graph.SerializeToString(), base.inputs, base.outputs)


def test_owns_named_weights(chain_model):
    stage = first_stage(chain_model)
    assert [w.path for w in stage.weights] == ["first/first.kernel"]
    assert isinstance(stage, StageLayer) and stage.built
    assert len({w.path for w in chain_model.weights}) == len(chain_model.weights) == 3


def test_config_comes_back_with_the_same_function(chain_model):
    stage = first_stage(chain_model)
    config = json.loads(json.dumps(stage.get_config()))
    copy = HubStage.from_config(config)
    assert copy.name == stage.name
    assert [(w.shape, w.dtype, w.trainable) for w in copy.weights] == [((4, 4), "float32", True)]
    assert not np.any(copy.get_weights()[0])
    assert np.abs(copy(X) - stage(X)).max() > 0.01
    copy.set_weights(stage.get_weights())
    np.testing.assert_array_equal(copy(X), stage(X))
    assert copy.get_config() == stage.get_config()


def test_config_keeps_updates_and_regularizers(tf_keras_cnn):
    model = load_backbone(tf_keras_cnn, batch_norm="train")
    stage = next(layer for layer in model.layers if layer.name == "block_1")
    copy = HubStage.from_config(json.loads(json.dumps(stage.get_config())))
    copy.set_weights(stage.get_weights())
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype("float32")
    for layer in (stage, copy):
        assert len(layer.updates) == 2
        before = layer.get_weights()
        layer(x, training=True)
        assert sum(not np.array_equal(a, b) for a, b in zip(before, layer.get_weights(), strict=True)) == 2
        assert len(layer.losses) == 1 and float(layer.losses[0]) > 0
    assert float(copy.losses[0]) == float(stage.losses[0])
    for a, b in zip(copy.get_weights(), stage.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_any_batch_size_uses_one_function(chain_model):
    stage = first_stage(chain_model)
    expected = stage(X).numpy()
    count = len(stage._concrete)
    for n in (1, 2):
        np.testing.assert_allclose(stage(X[:n]), expected[:n], atol=1e-6)
    assert len(stage._concrete) == count


@pytest.mark.parametrize("training", [None, False, True])
@pytest.mark.parametrize("batch_norm", ["inference", "train"])
@pytest.mark.parametrize("name", ["residual", "encoder", "recurrent"])
def test_symbolic_results_are_those_of_a_trace(name, batch_norm, training, saved):
    model = load_backbone(saved(name), batch_norm=batch_norm if name == "residual" else "inference")
    for stage in (layer for layer in model.layers if isinstance(layer, HubStage)):
        for _ in range(2):
            got = stage.compute_output_spec(stage.input, training=training)
            expected = keras.Operation.compute_output_spec(stage, stage.input, training=training)
            flat, flat_expected = keras.tree.flatten(got), keras.tree.flatten(expected)
            assert type(got) is type(expected)
            assert [(t.shape, t.dtype) for t in flat] == [(t.shape, t.dtype) for t in flat_expected]
            if name == "residual":  # gradients must not change what is said the second time
                with tf.GradientTape() as tape:
                    y = stage(np.ones((2, *stage.input.shape[1:]), "float32"), training=training)
                assert tape.gradient(y, stage.trainable_weights[0].value) is not None


def test_computes_in_its_own_dtype_under_mixed_precision(saved):
    expected = load_backbone(saved("chain"))(X).numpy()
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = load_backbone(saved("chain"))
        got = model(X)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert got.dtype == "float32"
    np.testing.assert_array_equal(got, expected)
    assert first_stage(model)(tf.cast(X, "float16")).dtype == tf.float32


def test_compiled_with_xla_and_in_graphs(chain_model):
    np.testing.assert_allclose(tf.function(chain_model, jit_compile=True)(X), chain_model(X), atol=1e-6)
    np.testing.assert_allclose(chain_model.predict(X, verbose=0), chain_model(X), atol=1e-6)


def build_normed(path, **options):
    """body and top of a Hub backbone, then BatchNormalization and a Dense layer of Keras."""
    backbone = load_backbone(path, **options)
    inputs = keras.Input((3,))
    x = keras.layers.BatchNormalization(name="head_bn")(backbone(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1, name="out")(x))
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    return model, backbone.get_layer("body")


XS = np.random.default_rng(8).normal(1.0, 2.0, (16, 3)).astype("float32")
YS = np.random.default_rng(9).normal(size=(16, 1)).astype("float32")


def moved_by_fit(model, stage):
    """Which weights of the stage, by their last name, and of head_bn a fit changes."""
    head = model.get_layer("head_bn")
    named = {w.name.split(".")[-1]: w for w in stage.weights}
    named |= {f"head_{w.name}": w for w in head.weights}
    before = {name: w.numpy().copy() for name, w in named.items()}
    model.fit(XS, YS, batch_size=16, epochs=2, verbose=0)
    return {name for name, w in named.items() if not np.array_equal(w.numpy(), before[name])}


def head(names):
    return {f"head_{name}" for name in names}


STATISTICS, SCALES = {"moving_mean", "moving_variance"}, {"gamma", "beta"}
MOVED = {
    "train": {"kernel"} | STATISTICS | SCALES,
    "inference": {"kernel"} | SCALES,
    "statistics": {"kernel"} | STATISTICS,
    "frozen": {"kernel"},
}


class TestBatchNorm:
    """The policy for batch normalization of a Hub stage: what moves, what does not, what is computed."""

    @pytest.mark.parametrize("loaded", ["train", "inference", "statistics", "frozen"])
    @pytest.mark.parametrize("kind", ["folded", "fused"])
    def test_each_policy_in_fit_whatever_was_loaded(self, kind, loaded, saved):
        model, stage = build_normed(saved(f"normed_{kind}"), batch_norm=loaded)
        for policy in ("statistics", "train", "frozen", "inference", None, "statistics", None, "frozen"):
            kerasft.unfreeze(model, policy)
            assert stage.batch_norm == (policy or loaded) and stage.loaded_batch_norm == loaded
            expected = MOVED[policy or loaded] | head(MOVED[policy or "train"] - {"kernel"})
            assert moved_by_fit(model, stage) == expected, policy
            kerasft.freeze(model, "head", policy)  # the backbone's stages are frozen
            assert moved_by_fit(model, stage) == head(MOVED[policy or "train"] - {"kernel"})
            kerasft.freeze(model, 3, policy)
            with pytest.warns(UserWarning, match="does not have any trainable weights"):
                assert moved_by_fit(model, stage) == set()

    @pytest.mark.parametrize("kind", ["folded", "fused", "by_hand"])
    @pytest.mark.parametrize("policy", ["train", "inference", "statistics", "frozen", None])
    def test_the_step_computes_with_the_statistics_of_the_policy(self, policy, kind, saved):
        if kind == "by_hand" and policy in ("statistics", "frozen"):
            pytest.skip("refused, see below")
        backbone = load_backbone(saved(f"normed_{kind}"))
        backbone.compile(keras.optimizers.SGD(0.1), "mse")
        kerasft.freeze(backbone, 1 if policy is None else 0, policy)
        body, top = backbone.get_layer("body"), backbone.get_layer("top")
        w = {v.name.split(".")[-1]: v.numpy() for v in body.weights}
        y = XS @ w["kernel"]
        batch = policy in ("train", "statistics")
        mean, variance = (y.mean(0), y.var(0)) if batch else (w["moving_mean"], w["moving_variance"])
        y = (y - mean) / np.sqrt(variance + 1e-3) * w["gamma"] + w["beta"]
        expected = np.mean((np.maximum(y, 0) @ top.get_weights()[0] - 1.0) ** 2)
        loss = backbone.train_on_batch(XS, np.ones((16, 2), "float32"))
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
        if batch:
            now = {v.name.split(".")[-1]: v.numpy() for v in body.weights}
            np.testing.assert_allclose(now["moving_mean"], 0.9 * w["moving_mean"] + 0.1 * mean, rtol=1e-5)

    @pytest.mark.parametrize("policy", ["statistics", "frozen"])
    def test_what_holds_them_needs_to_know_scale_and_offset(self, policy, saved):
        for kind in ("by_hand", "in_kernel"):
            with pytest.raises(ValueError, match="stage 'body' it can't be told .*'body_bn.moving_variance'"):
                load_backbone(saved(f"normed_{kind}"), batch_norm=policy)
        model, stage = build_normed(saved("normed_by_hand"), batch_norm="train")
        flags = [v.trainable for v in model.variables]
        with pytest.raises(ValueError, match="it can't be told"):
            kerasft.unfreeze(model, policy)
        assert [v.trainable for v in model.variables] == flags and stage.batch_norm == "train"
        kerasft.freeze(model, "head", policy)  # a frozen stage has no scale to be held
        assert moved_by_fit(model, stage) == head(MOVED[policy] - {"kernel"})
        model, stage = build_normed(saved("normed_no_scale"), batch_norm=policy)
        assert moved_by_fit(model, stage) == MOVED[policy] | head(SCALES | STATISTICS)

    def test_without_a_training_graph(self, saved):
        model, stage = build_normed(saved("normed_no_training_graph"))
        for policy in ("train", "statistics", "frozen"):
            with pytest.raises(ValueError, match="needs a training graph, which the stage 'body'"):
                kerasft.unfreeze(model, policy)
            with pytest.raises(ValueError, match="needs a training graph"):
                stage.batch_norm = policy
            kerasft.freeze(model, "head", policy)
        kerasft.unfreeze(model)
        assert moved_by_fit(model, stage) == MOVED["inference"] | head(STATISTICS | SCALES)

    def test_setting_flags_by_hand_keeps_the_policy(self, saved):
        model, stage = build_normed(saved("normed_folded"), batch_norm="statistics")
        model.trainable = False
        assert not any(w.trainable for w in stage.weights)
        model.trainable = True
        assert [w.name for w in stage.trainable_weights] == ["body.kernel"]
        stage.batch_norm = "train"
        assert {w.name.split(".")[-1] for w in stage.trainable_weights} == {"kernel"} | SCALES
        stage.trainable = False
        stage.batch_norm = "inference"
        assert not any(w.trainable for w in stage.weights)
        with pytest.raises(ValueError, match="not 'off'"):
            stage.batch_norm = "off"
        assert stage.batch_norm == "inference"

    @pytest.mark.parametrize("policy", ["train", "inference", "statistics", "frozen"])
    @pytest.mark.parametrize("depth", [0, 1])
    def test_a_file_keeps_the_policy(self, policy, depth, saved, tmp_path):
        model, stage = build_normed(saved("normed_folded"), batch_norm="train")
        kerasft.freeze(model, depth, policy)
        model.fit(XS, YS, verbose=0)
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        copy = next(s.layers[0] for s in kerasft.find_stages(loaded) if s.name == "body")
        assert (copy.batch_norm, copy.loaded_batch_norm) == (stage.batch_norm, "train")
        assert copy.trainable == (depth == 0)
        assert [w.trainable for w in copy.weights] == [w.trainable for w in stage.weights]
        np.testing.assert_allclose(loaded(XS), model(XS), rtol=1e-6)
        in_backbone = moved_by_fit(loaded, copy) - head(STATISTICS | SCALES)
        assert in_backbone == (MOVED[policy] if depth == 0 else set())
        # a file says of Keras's own layer that it is off, and not that a policy switched it off
        kerasft.unfreeze(loaded, everything=policy in ("inference", "frozen"))
        assert moved_by_fit(loaded, copy) == MOVED["train"] | head(STATISTICS | SCALES)

    def test_flags_remember_the_policy(self, saved):
        model, stage = build_normed(saved("normed_folded"), batch_norm="inference")
        flags = Flags(model)
        assert flags.changed() == []
        stage.batch_norm = "train"
        assert flags.changed() == ["layer 'body'"]
        with kerasft.frozen(model, 0, "statistics"):
            assert stage.batch_norm == "statistics" and len(stage.trainable_weights) == 1
        assert stage.batch_norm == "train" and len(stage.trainable_weights) == 3
        flags.restore()
        assert flags.changed() == [] and stage.batch_norm == "inference"


def rewrite_config(path, change):
    """Apply `change` to the first HubStage's configuration inside a `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(files["config.json"])
    stage = next(x for x in config["config"]["layers"] if x["class_name"] == "HubStage")
    change(stage["config"])
    files["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


@pytest.mark.parametrize("place", ["inference", "training", "regularizers"])
def test_a_tampered_file_is_refused(place, chain_model, tmp_path):
    path = tmp_path / "model.keras"
    chain_model.save(path)

    def tamper(config):
        evil = evil_graph(GraphFunction.from_config(config["inference"])).to_config()
        config[place] = [[evil, [0, 0]]] if place == "regularizers" else evil

    rewrite_config(path, lambda config: None)
    np.testing.assert_array_equal(keras.models.load_model(path)(X), chain_model(X))
    rewrite_config(path, tamper)
    with pytest.raises(ValueError, match=r"not known to be safe: \['ReadFile'\]"):
        keras.models.load_model(path)
    if place != "regularizers":
        loaded = keras.models.load_model(path, safe_mode=False)
        np.testing.assert_array_equal(loaded(X), chain_model(X))


def test_from_config_outside_a_load_is_as_strict(chain_model):
    config = first_stage(chain_model).get_config()
    HubStage.from_config(dict(config))
    config["inference"] = evil_graph(GraphFunction.from_config(config["inference"])).to_config()
    with pytest.raises(ValueError, match="ReadFile"):
        HubStage.from_config(config)


def test_clone_model_has_weights_of_its_own(chain_model):
    copy = keras.models.clone_model(chain_model)
    copy.set_weights(chain_model.get_weights())
    np.testing.assert_array_equal(copy(X), chain_model(X))
    copy.weights[0].assign(np.zeros((4, 4)))
    assert np.any(chain_model.weights[0].numpy())
