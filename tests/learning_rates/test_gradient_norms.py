"""Auto-RGN's factors, against a calculation by hand."""

import numpy as np

from kerasft.learning_rates.gradient_norms import relative_gradient_norms
from kerasft.stages.find import find_stages


def test_relative_gradient_norms_by_hand(dense_model):
    stages = find_stages(dense_model)
    for layer, value in zip(dense_model.layers, (1.0, 2.0, 3.0)):
        layer.kernel.assign(np.full(layer.kernel.shape, value))  # biases are zero
    sizes = [4 * 6, 6 * 5, 5 * 3]
    norms = {id(layer.kernel): g for layer, g in zip(dense_model.layers, (1.0, 2.0, 3.0))}
    norms[id(dense_model.layers[0].bias)] = 2.0
    ratios = [5**0.5 / sizes[0] ** 0.5, 2.0 / (2 * sizes[1] ** 0.5), 3.0 / (3 * sizes[2] ** 0.5)]
    expected = [r / max(ratios) for r in ratios]
    np.testing.assert_allclose(relative_gradient_norms(stages, norms), expected, rtol=1e-6)
    assert relative_gradient_norms(stages, {}) == [1.0, 1.0, 1.0]
