"""A running fit: found on the stack, replayed, and asked about its data."""

import keras
import numpy as np
import tensorflow as tf

from kerasft._keras.fit_loop import (
    keeps_order,
    reads_arrays,
    replay_epochs,
    running_fit,
    start_at,
    validation_iterator,
)


class CountedData(keras.utils.PyDataset):
    """Two batches, and how often they have been read to their end."""

    passes = 0

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return np.ones((4, 4)), np.ones((4, 3))

    def on_epoch_end(self):
        self.passes += 1


def test_a_running_fit_is_found_and_its_data_can_be_replayed(dense_model):
    dense_model.compile("sgd", "mse")
    assert running_fit(dense_model) is None
    assert not replay_epochs(running_fit(dense_model), 1)
    data = CountedData()

    class Probe(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            fit = running_fit(dense_model)
            assert any(callback is self for callback in fit.callbacks)
            before = data.passes
            assert replay_epochs(fit, 3) and replay_epochs(running_fit(dense_model), 3)
            assert data.passes - before == 3  # once, although it was asked twice
            start_at(dense_model, 3)

    history = dense_model.fit(data, epochs=5, verbose=0, shuffle=False, callbacks=[Probe()])
    assert history.epoch == [3, 4]
    assert int(dense_model.optimizer.iterations) == 4  # the replayed epochs have trained nothing
    start_at(dense_model, None)
    assert dense_model.fit(data, verbose=0, shuffle=False).epoch == [0]


def test_a_running_fit_tells_its_arrays_and_their_order(dense_model):
    dense_model.compile(loss="mse")
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            fit = running_fit(self.model)
            found = (reads_arrays(fit.epoch_iterator), keeps_order(fit.epoch_iterator))
            seen.append((*found, fit.first_epoch))

        def on_test_begin(self, logs=None):
            seen.append(reads_arrays(validation_iterator(self.model)))

    x, y = np.zeros((2, 4), "float32"), np.zeros((2, 3), "float32")
    rows = tf.data.Dataset.from_tensor_slices((x, y)).batch(2)
    options = {"verbose": 0, "callbacks": [Look()], "epochs": 2, "initial_epoch": 1}
    dense_model.fit(x, y, **options)
    dense_model.fit(x, y, shuffle=False, validation_data=rows, **options)
    dense_model.fit(rows, shuffle=False, **options)
    assert seen == [(True, False, 1), (True, True, 1), False, (False, False, 1)]
    assert validation_iterator(dense_model) is None


def test_epochs_that_are_done_with_are_not_read(dense_model):
    dense_model.compile("sgd", "mse")
    data = CountedData()

    class Probe(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            fit = running_fit(self.model)
            assert replay_epochs(fit, 2, read=False)
            before = data.passes
            assert replay_epochs(fit, 2) and data.passes == before
            assert replay_epochs(fit, 3) and data.passes == before + 1

    dense_model.fit(data, epochs=1, verbose=0, shuffle=False, callbacks=[Probe()])
