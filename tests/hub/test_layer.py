"""HubStage as a Keras layer: weights, policies, configuration, tampered files."""

import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasft.hub import HubStage, load_backbone
from kerasft.hub.function import GraphFunction

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
    assert stage.is_stage and stage.built
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
