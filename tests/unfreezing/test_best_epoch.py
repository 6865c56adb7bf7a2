"""The best epoch, kept and brought back."""

import keras
import numpy as np

import kerasft
from kerasft import _keras
from kerasft.unfreezing.best_epoch import BestEpoch


def test_weights_and_slots_come_back_together_once(dense_model):
    dense_model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    _keras.add_step_counts(dense_model.optimizer)
    stages = kerasft.freeze(dense_model, "second")
    x, y = np.ones((8, 4), "float32"), np.zeros((8, 3), "float32")
    dense_model.fit(x, y, verbose=0)
    best = BestEpoch(dense_model, stages)
    assert not best.restore()  # nothing is kept yet
    best.keep()
    kept = [w.numpy() for w in dense_model.weights]
    momentum = [v.numpy() for v in dense_model.optimizer.variables]
    dense_model.fit(x, y, verbose=0)
    assert not np.array_equal(dense_model.get_layer("top").kernel, kept[-2])
    dense_model.get_layer("first").bias.assign(np.full(6, 7.0))  # frozen: not kept, and left alone
    assert best.restore()
    for now, then in zip(dense_model.weights, kept, strict=True):
        expected = np.full(6, 7.0) if now.path.endswith("first/bias") else then
        np.testing.assert_array_equal(now, expected)
    slots = [v.numpy() for v in dense_model.optimizer.variables]
    changed = [v.path for v, a, b in zip(dense_model.optimizer.variables, slots, momentum)
               if not np.array_equal(a, b)]  # fmt: skip
    assert not any("momentum" in path for path in changed)
    assert not best.restore() and best.arrays == {}
