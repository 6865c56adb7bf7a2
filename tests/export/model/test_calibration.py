"""Representative data: every class, the right range, and others than the holdout."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from kerasft.export.model.calibration import calibration
from small_models import classifier, images

NONE = {"labels": None}


@pytest.fixture(scope="module")
def model():
    return classifier()


def brightness(chosen):
    """The class of each sample, by its mean: 47, 127 or 207."""
    return [round((float(s["image"].mean()) - 47.5) / 80) for s in chosen.samples]


def test_classes_are_taken_alike(model):
    x, y = images(400)
    order = np.argsort(y, kind="stable")  # one class after the other
    found = calibration(model, (x[order], y[order]), **NONE, count=30)
    assert np.bincount(brightness(found)).tolist() == [10, 10, 10]
    one_hot = (x[order], keras.utils.to_categorical(y[order]))
    assert np.bincount(brightness(calibration(model, one_hot, **NONE, count=30))).tolist() == [10, 10, 10]


def test_few_data_and_unlabelled_ones_are_all_taken(model):
    x, y = images(20)
    assert len(calibration(model, (x, y), **NONE).samples) == 20
    assert len(calibration(model, x, **NONE, count=7).samples) == 7


def test_endless_data_come_to_an_end(model):
    endless = tf.data.Dataset.from_tensor_slices(images(50)).repeat().batch(16)
    assert len(calibration(model, endless, **NONE, count=32).samples) == 32
    x, y = images(50)
    lacking = tf.data.Dataset.from_tensor_slices((x[y > 0], y[y > 0])).repeat().batch(16)
    with pytest.raises(ValueError, match=r"lack the classes \[0\] in 10,"):
        calibration(model, lacking, **NONE)


def test_a_missing_class_is_named(model):
    x, y = images()
    with pytest.raises(ValueError, match=r"lack the classes \['bright'\]"):
        calibration(model, (x[y < 2], y[y < 2]), labels=["dark", "grey", "bright"])


def test_data_that_are_in_the_holdout_are_refused(model):
    x, y = images()
    with pytest.raises(ValueError, match=r"\d+ of the holdout's samples are in representative_data"):
        calibration(model, (x, y), **NONE, holdout=(x[:50], y[:50]))
    other, labels = images(200, seed=1)
    doubled = np.concatenate([other, x[:1]]), np.concatenate([labels, y[:1]])  # a data set may hold one twice
    assert calibration(model, (x, y), **NONE, holdout=doubled).samples


def test_no_data_and_other_shapes_are_refused(model):
    with pytest.raises(ValueError, match="representative_data is empty"):
        calibration(model, (np.zeros((0, 8, 8, 3)), np.zeros(0, int)), **NONE)
    with pytest.raises(ValueError, match="'image' has the shape"):
        calibration(model, np.zeros((4, 9, 9, 3)), **NONE)


def test_the_first_samples_are_of_all_classes(model):
    """The first sixteen are the golden inputs where there is no holdout."""
    x, y = images(400)
    order = np.argsort(y, kind="stable")
    found = brightness(calibration(model, (x[order], y[order]), **NONE, count=30))
    assert found[:6] == [0, 1, 2, 0, 1, 2]


def test_scarce_classes_are_filled_up_with_others_and_none_is_left_out(model):
    x, y = images(400)
    scarce = np.concatenate([np.flatnonzero(y < 2), np.flatnonzero(y == 2)[:1]])
    found = brightness(calibration(model, (x[scarce], y[scarce]), **NONE, count=30))
    assert len(found) == 30 and found.count(2) == 1
    few = brightness(calibration(model, (x, y), **NONE, count=2))  # fewer than classes
    assert sorted(few) == [0, 1, 2]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(model, value):
    x, y = images()
    x[0, 0, 0, 0] = value
    with pytest.raises(ValueError, match="not finite"):
        calibration(model, (x, y), **NONE)


def test_the_default_count_and_endless_batches_of_keras(model):
    x, y = images(300)

    class Endless(keras.utils.PyDataset):
        num_batches = None

        def __getitem__(self, i):
            return x[20 * (i % 15) :][:20], y[20 * (i % 15) :][:20]

    found = calibration(model, Endless(), **NONE)
    assert len(found.samples) == 128
    # 128 // 3 = 42 of each class, and two more
    assert sorted(np.bincount(brightness(found)).tolist())[0] >= 42


def test_labels_that_name_no_class_are_no_classes(model):
    """Targets of regression and the like: samples are taken as they come."""
    x, _ = images(50)
    targets = np.linspace(0, 1, 50, dtype="float32")
    found = calibration(model, (x, targets), **NONE, count=10)
    np.testing.assert_array_equal(np.concatenate([s["image"] for s in found.samples]), x[:10])


def test_names_one_hot_rows_and_lists_are_classes_too(model):
    x, y = images()
    names = np.array(["dark", "grey", "bright"])
    few = y < 2
    for targets in (
        names[y[few]],
        {"scores": y[few]},
        list(map(int, y[few])),
        0.9 * np.eye(3)[y[few]] + 0.1 / 3,
    ):
        with pytest.raises(ValueError, match=r"lack the classes \['bright'\]"):
            calibration(model, (x[few], targets), labels=names.tolist())
    with pytest.raises(ValueError, match="representative_data's labels run from 1 to 3"):
        calibration(model, (x, y + 1), **NONE)
    with pytest.raises(ValueError, match=r"representative_data's labels are names.* Pass labels="):
        calibration(model, (x, names[y]), **NONE)


def test_one_column_has_two_classes():
    probability = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, activation="sigmoid")])
    x = np.random.default_rng(0).normal(size=(40, 2))
    with pytest.raises(ValueError, match=r"lack the classes \[1\] in 40 samples"):
        calibration(probability, (x, np.zeros(40)), **NONE)
    rare = np.arange(40) == 37
    found = calibration(probability, (x, rare), **NONE, count=4)
    assert any(np.allclose(sample["input"][0], x[37]) for sample in map(_only, found.samples))
    assert calibration(probability, (x, x[:, 0]), **NONE, count=4)  # a regression


def test_rows_of_several_labels_are_no_classes(model):
    x, y = images()
    rows = tf.data.Dataset.from_tensor_slices((x, np.eye(3)[y] * (np.arange(len(x)) % 5 > 0)[:, None])).batch(
        1
    )
    assert len(calibration(model, rows.take(12), **NONE, count=10).samples) == 10


def _only(sample):
    (value,) = sample.values()
    return {"input": value}


@pytest.mark.parametrize("count", [0, -1, 2.0, True, None])
def test_a_count_that_is_none_is_refused(model, count):
    with pytest.raises(ValueError, match="calibration_samples is a whole number of 1 or more"):
        calibration(model, images(20), **NONE, count=count)
