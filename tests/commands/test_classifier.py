"""The classifier of a run, and the head that it has to beat."""

import keras
import numpy as np
import pytest
from command_line import digits as load_digits
from command_line import tiny_backbone
from sklearn.linear_model import LogisticRegression

from kerasft.commands.classifier import build_classifier, train_head_alone
from kerasft.commands.progress import progress_display
from kerasft.hub import load_backbone


@pytest.mark.training
def test_the_head_to_beat_is_a_converged_one(tmp_path):
    """As good on validation images as scikit-learn's best logistic regression, and so on test images."""
    data = load_digits(600)
    backbone = load_backbone(tiny_backbone(tmp_path, blocks=1), input_shape=(16, 16, 3))
    model = build_classifier(backbone, 10, 16, (0.0, 1.0))
    before = [w.numpy() for w in model.weights]
    with progress_display(None) as display:
        found = train_head_alone(model, data, display)
    for weight, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)

    features = keras.Model(model.input, model.get_layer("dropout").input)

    def rows(part):
        pairs = [(features.predict_on_batch(x), y.numpy()) for x, y in part]
        return tuple(np.concatenate(values) for values in zip(*pairs, strict=True))

    (x, y), (held, held_y), (test, test_y) = map(rows, (data.train, data.validation, data.test))
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-6
    fits = [
        LogisticRegression(C=c, max_iter=5000).fit((x - mean) / deviation, y) for c in (0.01, 0.1, 1, 10, 100)
    ]
    best = max(fits, key=lambda fit: fit.score((held - mean) / deviation, held_y))
    assert found == pytest.approx(best.score((test - mean) / deviation, test_y), abs=0.05)


@pytest.mark.training
def test_the_head_to_beat_has_the_weights_of_the_classes(tmp_path):
    """As scikit-learn's logistic regression with the same weights, which gives the light classes up."""
    data = load_digits(600)
    backbone = load_backbone(tiny_backbone(tmp_path, blocks=1), input_shape=(16, 16, 3))
    model = build_classifier(backbone, 10, 16, (0.0, 1.0))
    weights = {label: 1.0 if label < 5 else 1e-4 for label in range(10)}
    with progress_display(None) as display:
        found = train_head_alone(model, data, display, weights)
        plain = train_head_alone(model, data, display)

    features = keras.Model(model.input, model.get_layer("dropout").input)

    def rows(part):
        pairs = [(features.predict_on_batch(x), y.numpy()) for x, y in part]
        return tuple(np.concatenate(values) for values in zip(*pairs, strict=True))

    (x, y), (test, test_y) = map(rows, (data.train, data.test))
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-6
    fit = LogisticRegression(C=1, max_iter=5000, class_weight=weights).fit((x - mean) / deviation, y)
    assert found == pytest.approx(fit.score((test - mean) / deviation, test_y), abs=0.08)
    assert found < plain - 0.2
