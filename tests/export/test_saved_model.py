"""SavedModels: what is served, and what can be fine-tuned again."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasft import export
from kerasft.hub import load_backbone

SCRIPT = Path(__file__).parents[1] / "support" / "fit_hub_layer.py"


@pytest.fixture
def trained(image_data):
    """A small trained model with everything that behaves differently in training."""
    inputs = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.RandomFlip(seed=1)(x)
    x = keras.layers.Conv2D(4, 3, kernel_regularizer=keras.regularizers.L2(0.1), name="block_0_conv")(x)
    x = keras.layers.BatchNormalization(name="block_0_bn")(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    x = keras.layers.Dropout(0.5, seed=2)(x)
    model = keras.Model(inputs, keras.layers.Dense(3, name="logits")(x))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(*image_data, epochs=2, verbose=0)
    return model


def test_serving_runs_inference_and_the_model_is_unchanged(trained, image_data, tmp_path):
    images = image_data[0][:4]
    before = [v.numpy().copy() for v in trained.variables]
    expected = trained(images, training=False)
    for reusable in (False, True):
        path = export.to_saved_model(trained, tmp_path / str(reusable), reusable=reusable)
        serve = tf.saved_model.load(str(path)).signatures["serving_default"]
        for _ in range(2):
            np.testing.assert_allclose(serve(image=tf.constant(images))["logits"], expected, atol=1e-6)
    assert all(np.array_equal(a, v) for a, v in zip(before, trained.variables, strict=True))


def test_the_reusable_form_trains(trained, image_data, tmp_path):
    path = export.to_saved_model(trained, tmp_path / "model")
    loaded = tf.saved_model.load(str(path))
    images = tf.constant(image_data[0][:4])
    by_name = {v.name: v for v in loaded.variables}
    mean = by_name["block_0_bn/moving_mean:0"]
    before = mean.numpy().copy()
    loaded(images, training=False)
    assert np.array_equal(before, mean)
    loaded(images, training=True)
    assert not np.array_equal(before, mean)
    kernel = trained.get_layer("block_0_conv").kernel
    (penalty,) = loaded.regularization_losses
    np.testing.assert_allclose(penalty(), 0.1 * np.sum(np.square(kernel)), rtol=1e-5)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(loaded(images, training=True))
    assert all(g is not None for g in tape.gradient(loss, loaded.trainable_variables))


def test_a_frozen_model_is_trainable_again_for_its_next_user(trained, tmp_path):
    thawed = {
        v.name
        for v in tf.saved_model.load(str(export.to_saved_model(trained, tmp_path / "a"))).trainable_variables
    }
    trained.trainable = False
    loaded = tf.saved_model.load(str(export.to_saved_model(trained, tmp_path / "b")))
    assert {v.name for v in loaded.trainable_variables} == thawed
    assert thawed == {
        "block_0_conv/kernel:0", "block_0_conv/bias:0", "block_0_bn/gamma:0", "block_0_bn/beta:0",
        "logits/kernel:0", "logits/bias:0",
    }  # fmt: skip
    assert trained.trainable_variables == []


def test_our_own_loader_reads_it(trained, image_data, tmp_path):
    path = export.to_saved_model(trained, tmp_path / "model")
    backbone = load_backbone(path, batch_norm="train")
    images = image_data[0][:4]
    np.testing.assert_allclose(backbone(images, training=False), trained(images, training=False), atol=1e-6)
    assert [layer.name for layer in backbone.layers[1:]] == ["block_0", "logits"]
    again = export.to_saved_model(backbone, tmp_path / "again")  # and a staged model exports as well
    np.testing.assert_allclose(
        tf.saved_model.load(str(again))(images, training=False), trained(images, training=False), atol=1e-6
    )


def test_keras_2_hub_layer_fine_tunes_it(trained, image_data, tmp_path):
    """In a process of its own: what wants Keras 2 would change Keras for other tests."""
    path = export.to_saved_model(trained, tmp_path / "model")
    images, labels = image_data
    np.savez(tmp_path / "data.npz", images=images, labels=labels)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(path), str(tmp_path / "data.npz"), str(tmp_path / "found.npz")],
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = np.load(tmp_path / "found.npz")
    np.testing.assert_allclose(found["loaded"], trained(images, training=False), atol=1e-5)
    assert found["losses"][-1] < 0.8 * found["losses"][0]
    # the L2 penalty of the kernel is part of the loss from the first step on
    penalty = 0.1 * np.sum(np.square(trained.get_layer("block_0_conv").kernel))
    np.testing.assert_allclose(found["penalty"], penalty, rtol=1e-5)
    weights = {v.path: np.asarray(v) for v in trained.variables}
    trainable = {f"block_0_conv/{n}" for n in ("kernel", "bias")} | {"logits/kernel", "logits/bias"}
    trainable |= {"block_0_bn/gamma", "block_0_bn/beta"}
    assert set(found["trainable"].tolist()) == trainable
    for name in (*trainable, "block_0_bn/moving_mean", "block_0_bn/moving_variance"):
        np.testing.assert_array_equal(found[f"before/{name}"], weights[name])
        assert not np.allclose(found[f"after/{name}"], weights[name], atol=1e-6), name
    for name in weights:  # frozen, nothing moves
        if name.startswith(("block_0", "logits")):
            np.testing.assert_array_equal(found[f"frozen/{name}"], weights[name])


def test_bad_models_and_paths(trained, tmp_path):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(2)

        def call(self, x):
            return self.dense(x)

    own = Own()
    with pytest.raises(ValueError, match="not built"):
        export.to_saved_model(keras.Sequential([keras.layers.Dense(2)]), tmp_path / "a")
    own(np.ones((1, 2), "float32"))
    with pytest.raises(ValueError, match="subclassed"):
        export.to_saved_model(own, tmp_path / "a")
    with pytest.raises(TypeError, match=r"keras\.Model"):
        export.to_saved_model("model", tmp_path / "a")
    (tmp_path / "taken").mkdir()
    with pytest.raises(FileExistsError, match="overwrite"):
        export.to_saved_model(trained, tmp_path / "taken")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["taken"]
