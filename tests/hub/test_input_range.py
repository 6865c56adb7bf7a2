"""How badly a range of pixels fits a backbone, against statistics worked out by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from kerasft.export import to_saved_model

from kerasft.hub import load_backbone, range_mismatch

RANGES = [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)]
SIDE = 16


@pytest.fixture(scope="module")
def photographs():
    """Images of smooth noise, brought to the mean and the contrast of photographs."""
    rng = np.random.default_rng(0)
    noise = tf.image.resize(rng.normal(size=(256, 5, 5, 3)), (SIDE, SIDE), "bicubic").numpy()
    return np.clip(255 * (0.449 + 0.226 * noise / noise.std()), 0, 255).astype("float32")


def trained(folder, images, taken, momentum=0.9):
    """A backbone whose statistics come from images with pixels of the range `taken`."""
    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((SIDE, SIDE, 3))
    for name, filters in (("first", 8), ("second", 12)):
        x = keras.layers.Conv2D(filters, 3, strides=2, use_bias=False, name=name)(x)
        x = keras.layers.BatchNormalization(momentum=momentum, name=f"{name}_bn")(x)
        x = keras.layers.ReLU()(x)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    low, high = taken
    for _ in range(100):
        model(low + (high - low) / 255 * images, training=True)
    return load_backbone(to_saved_model(model, folder / f"{taken[0]}_{taken[1]}_{momentum}"))


@pytest.mark.parametrize("taken", RANGES)
@pytest.mark.parametrize("momentum", [0.9, 0.95])
def test_the_range_of_training_fits_best(taken, momentum, photographs, tmp_path):
    backbone = trained(tmp_path, photographs, taken, momentum)
    before = [w.numpy() for w in backbone.weights]
    other = np.random.default_rng(7).permutation(photographs)[:48]
    for changed in (other, 0.2 * other, 255 - other, 0.3 * other + 90):  # dark, inverted and pale ones too
        fits = range_mismatch(backbone, changed, RANGES)
        assert RANGES[int(np.argmin(fits))] == taken
        assert sorted(fits)[1] > 1.5 * min(fits)
    for weight, old in zip(backbone.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_the_distance_is_that_of_the_statistics(photographs, tmp_path):
    """One normalization of the input itself: its statistics can be worked out by hand."""
    inputs = keras.Input((SIDE, SIDE, 3))
    layer = keras.layers.BatchNormalization(momentum=0.9, name="bn")
    model = keras.Model(inputs, layer(inputs))
    layer.moving_mean.assign([0.5, 0.4, 0.3])
    layer.moving_variance.assign([0.04, 0.05, 0.08])
    backbone = load_backbone(to_saved_model(model, tmp_path / "bn"))
    pixels = photographs[:32]
    pixels = np.clip(0.449 + 0.226 * (pixels - pixels.mean()) / pixels.std(), 0, 1)
    mean, variance = pixels.mean(axis=(0, 1, 2)), pixels.var(axis=(0, 1, 2))
    variances = np.median(np.abs(np.log(variance / [0.04, 0.05, 0.08])))
    means = np.median(np.abs(np.log(mean / [0.5, 0.4, 0.3])))  # a mean above 0 counts by its ratio, too
    wide = np.median(np.abs(np.log(4 * variance / [0.04, 0.05, 0.08])))
    signed = np.median(np.abs(2 * mean - 1 - [0.5, 0.4, 0.3]) / np.sqrt([0.04, 0.05, 0.08]))
    fits = range_mismatch(backbone, photographs[:32], [(0.0, 1.0), (-1.0, 1.0)])
    assert fits == pytest.approx([means + variances, signed + wide], rel=1e-3)


def test_a_backbone_without_trained_statistics_says_nothing(photographs, tmp_path):
    inputs = keras.Input((SIDE, SIDE, 3))
    plain = keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs))
    new = keras.Model(inputs, keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(inputs)))
    for name, model in (("plain", plain), ("new", new)):
        backbone = load_backbone(to_saved_model(model, tmp_path / name))
        assert range_mismatch(backbone, photographs[:8], RANGES) is None


def test_statistics_that_are_the_same_in_each_range_say_nothing(photographs, tmp_path):
    """Each image is brought to mean 0 and variance 1 before the first weights."""
    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.LayerNormalization(axis=[1, 2, 3], center=False, scale=False, epsilon=1e-12)(inputs)
    layer = keras.layers.BatchNormalization(momentum=0.9)
    model = keras.Model(inputs, layer(keras.layers.Conv2D(4, 3, use_bias=False)(x)))
    for _ in range(5):
        model(photographs[:16], training=True)
    backbone = load_backbone(to_saved_model(model, tmp_path / "same"))
    assert np.ptp(layer.moving_variance.numpy()) > 0
    assert range_mismatch(backbone, photographs[:16], RANGES) is None
