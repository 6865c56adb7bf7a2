"""Staged backbones that no single tensor divides, inside a user's model: stages, freezing and the cache."""

import hub_networks
import keras
import numpy as np
import pytest

import kerasft
from kerasft import export

SAMPLES = 8


@pytest.fixture(scope="module", params=["unet", "siamese", "image_and_table", "pyramid"])
def folder(request, tmp_path_factory):
    """The folder of a SavedModel."""
    path = str(tmp_path_factory.mktemp("frontiers") / request.param)
    network = hub_networks.with_random_weights(getattr(hub_networks, request.param)())
    export.to_saved_model(network, path, reusable=True)
    return path


def model_of(folder):
    keras.utils.set_random_seed(0)
    backbone = kerasft.hub.load_backbone(folder)
    inputs = [keras.Input(t.shape[1:]) for t in backbone.inputs]
    results = keras.tree.flatten(backbone(inputs if len(inputs) > 1 else inputs[0]))
    flat = [keras.layers.Flatten()(t) for t in results]
    joined = flat[0] if len(flat) == 1 else keras.layers.Concatenate()(flat)
    model = keras.Model(inputs, keras.layers.Dense(2, name="top")(joined))
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    rng = np.random.default_rng(1)
    x = [rng.normal(size=(SAMPLES, *t.shape[1:])).astype("float32") for t in inputs]
    return model, x if len(x) > 1 else x[0], rng.normal(size=(SAMPLES, 2)).astype("float32")


def fit(folder, depth, callbacks):
    model, x, y = model_of(folder)
    kerasft.freeze(model, depth)
    before = [w.numpy() for w in model.weights]
    model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0, callbacks=callbacks)
    return model, before


def test_the_stages_of_the_model_are_those_of_the_backbone_and_a_head(folder):
    model, *_ = model_of(folder)
    backbone = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    names = [x.name for x in backbone.layers if isinstance(x, kerasft.hub.HubStage) and x.weights]
    stages = kerasft.find_stages(model)
    assert sorted(stages.names) == sorted([*names, "head"]) and stages.names[-1] == "head"
    assert stages.reason is None


def test_a_cached_fit_ends_where_a_plain_one_ends(folder):
    depth = len(kerasft.find_stages(model_of(folder)[0])) // 2
    cache = kerasft.PrefixCache()
    cached, before = fit(folder, depth, [cache])
    plain, _ = fit(folder, depth, [])
    assert cache.reason is None and cache.report.replayed == [False, True, True]
    trained = {id(v) for v in cached.trainable_variables}
    for mine, theirs, old in zip(cached.weights, plain.weights, before, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
        if id(mine) not in trained:
            np.testing.assert_array_equal(mine, old)
