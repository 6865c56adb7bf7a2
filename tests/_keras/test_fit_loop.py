"""A running fit: found on the stack, replayed, and asked about its data."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasft._keras.fit_loop import (
    after_train_begin,
    build_for,
    element_spec,
    goes_on,
    keeps_order,
    pass_epoch,
    pending_replay,
    reads_arrays,
    replace_callbacks,
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
            assert not goes_on(fit.epoch_iterator)
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


def seen_fits(model, fit):
    """What `running_fit` finds within a call of `fit`, which is given callbacks."""
    found = []

    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            found.append(running_fit(self.model))

    look = Look()
    fit(callbacks=[look])
    assert [any(c is look for c in run.callbacks) for run in found] == [True] * len(found)
    return found


def test_a_fit_that_others_have_wrapped_is_found(dense_model, monkeypatch):
    """As experiment trackers wrap it: in place of Keras's own, and without saying what it wraps."""
    dense_model.compile("sgd", "mse")
    plain = keras.Model.fit

    def tracked(self, *args, callbacks=None, epochs=1, **kwargs):
        epoch_iterator = None  # a tracker's own
        return plain(self, *args, callbacks=list(callbacks), epochs=epochs + 1, **kwargs), epoch_iterator

    monkeypatch.setattr(keras.Model, "fit", tracked)
    data = {"x": np.ones((4, 4)), "y": np.ones((4, 3)), "verbose": 0}
    (found,) = seen_fits(dense_model, lambda **options: dense_model.fit(**data, **options))
    assert (found.epochs, found.first_epoch, found.epoch_iterator.num_batches) == (2, 0, 1)


def test_a_subclass_that_fits_and_a_fit_inside_a_fit_are_found(dense_model):
    class Own(keras.Sequential):
        def fit(self, x, callbacks):
            return super().fit(x, x[:, :1], batch_size=2, epochs=3, verbose=0, callbacks=callbacks)

    outer = Own([keras.Input((4,)), keras.layers.Dense(1)])
    outer.compile("sgd", "mse")
    dense_model.compile("sgd", "mse")
    inside = []

    class Nested(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            data = {"x": np.ones((4, 4)), "y": np.ones((4, 3)), "verbose": 0}
            inside.extend(seen_fits(dense_model, lambda **options: dense_model.fit(**data, **options)))
            inside.append(running_fit(outer))

    look = seen_fits(outer, lambda callbacks: outer.fit(np.ones((4, 4)), [*callbacks, Nested()]))
    assert [run.epochs for run in [*look, *inside]] == [3, 1, 3]
    assert inside[1].epoch_iterator is look[0].epoch_iterator


class Lazy(keras.Model):
    """A model that has no weights before its first call."""

    def __init__(self):
        super().__init__()
        self.inner = keras.Sequential([keras.layers.Dense(3), keras.layers.Dropout(0.5)])

    def call(self, x):
        return self.inner(x["a"])


def test_an_unbuilt_model_is_built_from_the_shapes_of_the_data():
    """To the weights that Keras's first step gives it, and without a batch."""
    x, y = {"a": np.ones((4, 4), "float32")}, np.ones((4, 3), "float32")
    keras.utils.set_random_seed(4)
    first = Lazy()
    first(x)
    keras.utils.set_random_seed(4)
    model, built = Lazy(), []
    model.compile(keras.optimizers.SGD(0.0), "mse")

    class Build(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            built.append(model.built)
            built.append(build_for(model, running_fit(model).epoch_iterator))

    model.fit(x, y, verbose=0, callbacks=[Build()])
    assert built == [False, True] and int(model.optimizer.iterations) == 1
    for one, other in zip(model.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def numbers(count, **options):
    rows = tf.data.Dataset.range(count).map(lambda n: (tf.fill((4,), n), tf.zeros(3)))
    return rows.batch(2, **options)


def test_a_callback_that_looks_at_the_data_is_left_to_let_them_pass(dense_model):
    """Three steps an epoch of a source that goes on where the epoch before it has stopped."""
    dense_model.compile("sgd", "mse")
    seen = []

    class Look(keras.callbacks.Callback):
        reads_replay = True

        def on_train_begin(self, logs=None):
            self.fit = running_fit(self.model)
            assert replay_epochs(self.fit, 3) and pending_replay(self.fit) == range(3)
            start_at(self.model, 3)

        def on_epoch_begin(self, epoch, logs=None):
            for past, most in enumerate((None, 1, 5)):
                pass_epoch(self.fit, past, lambda batch: seen.append(int(batch[0][0, 0])), most)
            assert list(pending_replay(self.fit)) == [] and list(pending_replay(self.fit, 4)) == [3]
            assert goes_on(self.fit.epoch_iterator)
            assert element_spec(self.fit.epoch_iterator)[0].shape.as_list() == [None, 4]

        def on_train_batch_end(self, batch, logs=None):
            seen.append(f"step {int(dense_model.optimizer.iterations)}")

    options = {"steps_per_epoch": 3, "epochs": 4, "verbose": 0, "shuffle": False}
    dense_model.fit(numbers(40).repeat(), callbacks=[Look()], **options)
    assert seen == [*range(0, 18, 2), "step 1", "step 2", "step 3"]


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_data_of_unknown_length_end(dense_model):
    dense_model.compile("sgd", "mse")
    rows = numbers(6).filter(lambda x, y: True)

    class Probe(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            fit = running_fit(self.model)
            assert fit.epoch_iterator.num_batches is None and replay_epochs(fit, 2)
            assert fit.epoch_iterator.num_batches in (3, 4)  # as Keras counts them

    dense_model.fit(rows, epochs=1, verbose=0, shuffle=False, callbacks=[Probe()])


def test_callbacks_are_replaced_and_called_last(dense_model):
    called = []

    class Notes(keras.callbacks.Callback):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def on_train_begin(self, logs=None):
            called.append(f"{self.name} begins")
            if self.name == "first":
                fit = running_fit(self.model)
                after_train_begin(fit, lambda: called.append("called last"))
                other = Notes("other")
                other.set_model(self.model)
                replace_callbacks(fit, [*fit.callbacks[:1], other])

        def on_epoch_end(self, epoch, logs=None):
            called.append(f"{self.name} ends an epoch")

    dense_model.compile("sgd", "mse", run_eagerly=True)
    x, y = np.ones((2, 4), "float32"), np.zeros((2, 3), "float32")
    dense_model.fit(x, y, verbose=0, callbacks=[Notes("first"), Notes("second")])
    begun = ["first begins", "second begins", "called last"]
    assert called == [*begun, "first ends an epoch", "other ends an epoch"]
