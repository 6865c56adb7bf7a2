"""Weights that were trained elsewhere come back into the model, or the model stays as it was."""

import keras
import numpy as np
import pytest
from keras import layers
from kerasft.export.on_device.part import part_of, rest_of, values_of
from kerasft.export.on_device.state import digest_of, write_npz
from safetensors_file import write_safetensors

from kerasft import export

WRITE = {".npz": write_npz, ".safetensors": write_safetensors}


def network(classes=3):
    keras.utils.set_random_seed(1)
    hidden = [layers.Dense(6, name="body"), layers.Dense(5), layers.LayerNormalization()]
    return keras.Sequential([keras.Input((4,)), *hidden, layers.Dense(classes, name="top")], name="net")


def trained(model, depth="head", *, new_classes=False, change=1.0, names=None):
    """What a client would save: weights by name, and the digest of the rest."""
    part = part_of(model, depth)
    weights = {k: v + np.float32(change) for k, v in values_of(part.weights).items()}
    rest = rest_of(model, part.links, weights)
    return weights, digest_of(rest, new_classes=new_classes)


@pytest.fixture
def model():
    return network()


def unchanged(model, before):
    for v, old in zip(model.weights, before):
        np.testing.assert_array_equal(v.numpy(), old)


@pytest.mark.parametrize("suffix", WRITE)
@pytest.mark.parametrize("depth", ["head", "dense"])
def test_weights_come_back(model, tmp_path, suffix, depth):
    depth = model.layers[1].name if depth == "dense" else depth
    before = [v.numpy() for v in model.weights]
    weights, digest = trained(model, depth)
    slots = {"step": np.float32([9]), **{f"{k}_m": v for k, v in weights.items()}}
    WRITE[suffix](tmp_path / f"w{suffix}", {**weights, **slots}, digest)
    assert export.load_head(model, tmp_path / f"w{suffix}") is model
    for v, old in zip(model.weights[-len(weights) :], before[-len(weights) :]):
        np.testing.assert_array_equal(v.numpy(), old + np.float32(1))
    kept = len(before) - len(weights)
    unchanged_part = [v.numpy() for v in model.weights[:kept]]
    for now, old in zip(unchanged_part, before[:kept]):
        np.testing.assert_array_equal(now, old)


def test_a_model_that_was_loaded_again_has_other_automatic_names(model, tmp_path):
    weights, digest = trained(model, model.layers[1].name)
    write_npz(tmp_path / "w.npz", weights, digest)
    layers.Dense(3)
    again = network()
    assert again.layers[1].name != model.layers[1].name
    export.load_head(again, tmp_path / "w.npz")
    np.testing.assert_array_equal(again.layers[1].kernel, weights["dense_kernel"])
    np.testing.assert_array_equal(again.layers[-1].bias, weights["top_bias"])


def test_a_head_of_which_a_part_was_off(model, tmp_path):
    """Which weights train is in the file, whatever is on in the model when it is read."""
    model.layers[1].trainable = False
    weights, digest = trained(model, model.layers[1].name)
    assert "dense_kernel" not in weights
    model.layers[1].trainable = True
    write_npz(tmp_path / "w.npz", weights, digest)
    export.load_head(model, tmp_path / "w.npz")
    np.testing.assert_array_equal(model.layers[-1].kernel, weights["top_kernel"])


def test_new_classes_give_a_new_model(model, tmp_path):
    before = [v.numpy() for v in model.weights]
    weights, digest = trained(model, new_classes=True)
    weights = {"top_kernel": np.full((5, 8), 0.5, "float32"), "top_bias": np.arange(8, dtype="float32")}
    write_npz(tmp_path / "w.npz", weights, digest)
    made = export.load_head(model, tmp_path / "w.npz")
    assert made.outputs[0].shape == (None, 8) and model.outputs[0].shape == (None, 3)
    unchanged(model, before)
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    features = keras.Model(model.inputs[0], model.layers[-2].output)(x)
    np.testing.assert_allclose(made(x), features @ weights["top_kernel"] + weights["top_bias"], atol=1e-5)
    # and the new model takes the weights that are trained further
    more = {name: value + np.float32(1) for name, value in weights.items()}
    write_npz(tmp_path / "more.npz", more, digest)
    np.testing.assert_allclose(export.load_head(made, tmp_path / "more.npz").layers[-1].kernel, 1.5)
    np.testing.assert_allclose(made.layers[-1].kernel, 0.5)


def refused(model, tmp_path, weights, digest, why):
    before = [v.numpy() for v in model.weights]
    write_npz(tmp_path / "w.npz", weights, digest)
    with pytest.raises(ValueError, match=why):
        export.load_head(model, tmp_path / "w.npz")
    unchanged(model, before)


def test_another_models_weights(model, tmp_path):
    other = network()
    other.layers[0].kernel.assign(other.layers[0].kernel + 0.01)
    refused(model, tmp_path, *trained(other), "weights of another model: .*'net'")
    for digest in ("", "0" * 64):
        refused(model, tmp_path, trained(model)[0], digest, "no 'digest'" if not digest else "another model")


def test_another_models_names(model, tmp_path):
    weights, digest = trained(model)
    refused(
        model,
        tmp_path,
        {"end_kernel": weights["top_kernel"]},
        digest,
        r"\['end_kernel'\]; 'net' has .*'top_bias'",
    )
    refused(model, tmp_path, {**weights, "more": weights["top_bias"]}, digest, "holds .*'more'.*'net' has")
    refused(model, tmp_path, {}, digest, r"holds \[\]")


def test_a_weight_is_missing(model, tmp_path):
    weights, digest = trained(model)
    refused(model, tmp_path, {"top_kernel": weights["top_kernel"]}, digest, "lacks some that trained")


def test_other_shapes(model, tmp_path):
    weights, digest = trained(model)
    for name, value in (("top_kernel", weights["top_kernel"].T), ("top_bias", np.zeros(8, "float32"))):
        refused(
            model, tmp_path, {**weights, name: value}, digest, rf"'{name}' of the shape \({value.shape[0]},"
        )
    _, digest = trained(model, new_classes=True)
    flat = {**weights, "top_kernel": weights["top_kernel"].ravel()}
    refused(model, tmp_path, flat, digest, r"\(15,\), not \(width, classes\)")
    refused(
        model,
        tmp_path,
        {**weights, "top_bias": np.zeros(8, "float32")},
        digest,
        r"'top_bias' of the shape \(8,\)",
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(model, tmp_path, value):
    weights, digest = trained(model)
    weights["top_bias"][1] = value
    refused(model, tmp_path, weights, digest, r"not finite, in \['top_bias'\]")


def test_what_is_no_model(tmp_path):
    with pytest.raises(TypeError, match="keras.Model"):
        export.load_head("model", tmp_path / "w.npz")
