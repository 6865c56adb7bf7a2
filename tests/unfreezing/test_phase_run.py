"""The phases of a fit: where they begin when gradients are accumulated."""

import keras
import numpy as np

from kerasft import GradualUnfreezing, Phase


def test_a_thaw_waits_for_the_window_of_accumulated_gradients(dense_model):
    """Three steps an epoch, windows of two: the second epoch begins inside a window."""
    x, y = np.ones((12, 4), "float32"), np.zeros((12, 3), "float32")
    dense_model.compile(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2), "mse")
    first = dense_model.get_layer("first").kernel
    start, seen = first.numpy(), []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append((first.trainable, not np.array_equal(first, start)))

    callback = GradualUnfreezing([Phase("top", 1), Phase(0)])
    dense_model.fit(x, y, epochs=2, batch_size=4, shuffle=False, verbose=0, callbacks=[callback, Watch()])
    assert [thawed for thawed, _ in seen] == [False, False, False, False, True, True]
    assert [moved for _, moved in seen] == [False] * 5 + [True]  # and then with a whole window


def test_a_window_that_never_ends_at_a_call_is_dropped(dense_model, caplog):
    x, y = np.ones((20, 4), "float32"), np.zeros((20, 3), "float32")
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    dense_model.compile(optimizer, "mse", steps_per_execution=2)
    # five steps an epoch in calls of two, two and one: the second epoch and the third begin inside a window
    callback = GradualUnfreezing([Phase("top", 1), Phase(0)])
    kernel = dense_model.get_layer("first").kernel
    before = kernel.numpy()
    dense_model.fit(x, y, epochs=1, batch_size=4, verbose=0, callbacks=[GradualUnfreezing([Phase("top")])])
    history = dense_model.fit(x, y, epochs=4, batch_size=4, verbose=0, callbacks=[callback])
    assert history.history["freeze_depth"][-1] == 0
    assert not np.array_equal(kernel, before)
