"""The pixel range of a backbone: what fits it, refused where it fits far worse, asked for otherwise."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from kerasft.export import to_saved_model

from kerasft.commands.input_range import _named_right, input_range
from kerasft.data import load_dataset
from kerasft.hub import load_backbone

SIDE = 16


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits", image_size=SIDE)


def backbone_for(folder, taken, normalized=True):
    """A network that was trained on digits with pixels of the range `taken`, without its head."""
    keras.utils.set_random_seed(3)
    data = load_dataset("digits", image_size=SIDE)
    images, labels = (np.concatenate(part) for part in zip(*data.train.as_numpy_iterator(), strict=True))
    x = inputs = keras.Input((SIDE, SIDE, 3))
    for filters in (12, 24):
        x = keras.layers.Conv2D(filters, 3, strides=2, use_bias=not normalized)(x)
        x = keras.layers.BatchNormalization(momentum=0.9)(x) if normalized else x
        x = keras.layers.ReLU()(x)
    x = keras.layers.Flatten()(x)
    model = keras.Model(inputs, keras.layers.Dense(10, "softmax")(x))
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    low, high = taken
    model.fit(low + (high - low) / 255 * images, labels, epochs=8, verbose=0)
    return load_backbone(to_saved_model(keras.Model(inputs, x), folder / "backbone"))


@pytest.mark.training
@pytest.mark.parametrize("taken", [(0.0, 1.0), (0.0, 255.0)])
def test_the_range_of_training_is_taken_and_said(taken, digits, tmp_path):
    backbone, said = backbone_for(tmp_path, taken), []
    stored = tmp_path / "range.json"
    assert input_range(backbone, digits, None, stored, said.append) == taken
    assert len(said) == 1 and f"takes pixels from {taken[0]:g} to {taken[1]:g}. Distance" in said[0]
    assert json.loads(stored.read_text()) == list(taken)
    assert input_range(backbone, digits, taken, tmp_path / "given.json", said.append) == taken
    wrong = (0.0, 255.0) if taken == (0.0, 1.0) else (0.0, 1.0)
    with pytest.raises(ValueError, match=rf"{wrong[1]:g} fits the backbone far worse than 0,{taken[1]:g}"):
        input_range(backbone, digits, wrong, tmp_path / "wrong.json", said.append)
    assert not (tmp_path / "wrong.json").exists() and len(said) == 1


def test_what_an_earlier_process_found_is_not_measured_again(digits, tmp_path):
    stored = tmp_path / "range.json"
    stored.write_text("[-1.0, 1.0]")
    assert input_range(None, digits, None, stored, pytest.fail) == (-1.0, 1.0)


def test_where_nothing_tells_the_range_is_asked_for(digits, tmp_path):
    inputs = keras.Input((SIDE, SIDE, 3))
    linear = keras.Model(inputs, keras.layers.Conv2D(4, SIDE, use_bias=False)(inputs))
    backbone = load_backbone(to_saved_model(linear, tmp_path / "linear"))
    with pytest.raises(ValueError, match="can't be told. Accuracy of a linear classifier .* Pass it"):
        input_range(backbone, digits, None, tmp_path / "range.json", pytest.fail)
    chosen = input_range(backbone, digits, (0.0, 1.0), tmp_path / "range.json", pytest.fail)
    assert chosen == (0.0, 1.0)


def test_features_that_only_one_range_has_tell_it(digits, tmp_path):
    """No normalization: pixels above 1 are cut off, so that 0 to 255 shows black and white alone."""
    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.ops.clip(inputs, 0.0, 1.0) * keras.ops.cast(inputs < 1.01, "float32")
    model = keras.Model(inputs, keras.layers.Dense(64, use_bias=False)(keras.layers.Flatten()(x)))
    backbone = load_backbone(to_saved_model(model, tmp_path / "cut"))
    with pytest.raises(ValueError, match="0,255 fits the backbone far worse .* Accuracy"):
        input_range(backbone, digits, (0.0, 255.0), tmp_path / "range.json", pytest.fail)


def test_the_classifier_names_each_image_by_the_others():
    """Held against ridge regressions that are fitted anew without each image."""
    rng = np.random.default_rng(0)
    labels = np.repeat([3, 7, 9], 8)
    features = rng.normal(size=(24, 5)) + labels[:, None] * [0.4, 0, 0.1, 0, 0]
    x = features - features.mean(axis=0)
    x /= x.std()
    strength = np.trace(x @ x.T) / len(x) * 0.1
    targets = tf.one_hot([[3, 7, 9].index(n) for n in labels], 3).numpy().astype("float64")
    right = []
    for i in range(len(x)):
        rest = np.arange(len(x)) != i
        a = x[rest]
        weights = np.linalg.solve(a.T @ a + strength * np.eye(5), a.T @ targets[rest])
        right.append([3, 7, 9][int(np.argmax(x[i] @ weights))] == labels[i])
    np.testing.assert_array_equal(_named_right(features, labels), right)
    assert 0 < np.mean(right) < 1
