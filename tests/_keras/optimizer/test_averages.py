"""Averages of variables that have not trained: whoever reads them finds the variables."""

import keras
import numpy as np
import pytest

import kerasft
from kerasft import _keras


class Watch(keras.callbacks.Callback):
    """Notes, at the end of each epoch, what the model holds."""

    def on_train_begin(self, logs=None):
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(self.model.get_weights())


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(16, 4)).astype("float32"), rng.normal(size=(16, 3)).astype("float32")


def averaging(model, **options):
    model.compile(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.8, **options), "mse")
    return model


def fit(model, *callbacks, epochs=2):
    x, y = data()
    options = {"batch_size": 4, "shuffle": False, "verbose": 0, "validation_data": (x, y)}
    history = model.fit(x, y, epochs=epochs, callbacks=list(callbacks), **options)
    return history.history["val_loss"]


@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_validation_with_averages_is_that_of_plain_keras_with_the_same_layers_frozen(
    dense_model, swap_on_epoch
):
    """Plain Keras gives averages to the layers that train alone."""
    plain = keras.models.clone_model(dense_model)
    plain.set_weights(dense_model.get_weights())
    for name in ("first", "second"):
        plain.get_layer(name).trainable = False
    swap = keras.callbacks.SwapEMAWeights
    theirs, ours = Watch(), Watch()
    expected = fit(averaging(plain), swap(swap_on_epoch), theirs)
    before = dense_model.get_weights()
    schedule = [kerasft.Phase("top", epochs=2), kerasft.Phase(0)]
    unfreezing = kerasft.GradualUnfreezing(schedule)
    found = fit(averaging(dense_model), unfreezing, swap(swap_on_epoch), ours, epochs=3)
    assert found[:2] == pytest.approx(expected, rel=1e-6)
    for one, other in zip(ours.seen[:2], theirs.seen, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)
    for now, then in zip(ours.seen[1][:4], before[:4], strict=True):
        np.testing.assert_array_equal(now, then)  # frozen, and so is what was put in its place
    assert all(np.abs(a - b).max() > 1e-4 for a, b in zip(ours.seen[2], before, strict=True))


@pytest.fixture
def half_trained(dense_model):
    """A model whose `top` has taken two steps, and its optimizer, which knows all weights."""
    optimizer = averaging(dense_model).optimizer
    optimizer.build(dense_model.trainable_variables)
    _keras.add_step_counts(optimizer)
    top = dense_model.trainable_variables[4:]
    for _ in range(2):
        optimizer.apply([keras.ops.ones(v.shape) for v in top], top)
    return dense_model, optimizer


def averages(optimizer):
    return [v.numpy() for v in optimizer._model_variables_moving_average]


def test_an_average_follows_its_variable_until_the_first_step(half_trained):
    model, optimizer = half_trained
    kernel = model.get_layer("first").kernel
    np.testing.assert_array_equal(averages(optimizer)[0], kernel)
    kernel.assign(np.full(kernel.shape, 3.0))  # weights that were loaded after the slots were made
    np.testing.assert_array_equal(averages(optimizer)[0], 3.0)
    listed = next(v for v in optimizer.variables if v.path.endswith("first_kernel_average"))
    np.testing.assert_array_equal(listed, 3.0)
    optimizer.apply([keras.ops.ones(kernel.shape)], [kernel])  # to 3 - 0.1 * 1, the first of its average
    optimizer.apply([keras.ops.ones(kernel.shape)], [kernel])  # 0.8 * 2.9 + 0.2 * 2.8 = 2.88
    np.testing.assert_allclose(averages(optimizer)[0], 2.88, rtol=1e-6)
    top = model.get_layer("top").kernel
    assert np.abs(averages(optimizer)[4] - top.numpy()).max() > 1e-3


def test_saved_and_final_averages_are_the_variables(half_trained):
    model, optimizer = half_trained
    before, store = model.get_weights(), {}
    optimizer.save_own_variables(store)
    np.testing.assert_array_equal(store["_model_variables_moving_average:net|first|kernel"], before[0])
    # a file of an earlier version, with zeros
    optimizer.load_own_variables({k: np.zeros_like(v) if "first" in k else v for k, v in store.items()})
    np.testing.assert_array_equal(averages(optimizer)[0], before[0])
    expected = averages(optimizer)[4]
    optimizer.finalize_variable_values(model.trainable_variables)
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
    np.testing.assert_array_equal(model.get_weights()[4], expected)


def test_a_factor_of_zero_stops_the_average_as_well(half_trained):
    model, optimizer = half_trained
    top = model.get_layer("top").kernel
    optimizer.set_multipliers({"net/top/kernel": 0.0})
    np.testing.assert_array_equal(averages(optimizer)[4], top)


def test_a_stage_that_is_frozen_again_stays_through_exchanges(dense_model):
    """In phase 1 `second` is frozen again: what SwapEMAWeights would put there is not its average."""
    phases = [kerasft.Phase("second", epochs=1), kerasft.Phase("top", epochs=1), kerasft.Phase(0)]
    watch = Watch()
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    fit(averaging(dense_model), kerasft.GradualUnfreezing(phases), swap, watch, epochs=3)
    first, second, last = ([w for w in weights[2:4]] for weights in watch.seen)
    assert np.abs(second[0] - first[0]).max() > 1e-4  # an average, then the weights themselves
    assert np.abs(last[0] - second[0]).max() > 1e-4


def test_the_best_epoch_has_its_own_averages(dense_model):
    """A phase that goes back to its first epoch, whose end the averages spend in the model."""
    seen = []

    class Look(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.append((self.model.get_weights()[4], averages(self.model.optimizer)[4]))

        def on_epoch_end(self, epoch, logs=None):  # the averages are in the model
            seen.append((averages(self.model.optimizer)[4], self.model.get_weights()[4]))

    class Falling(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["score"] = -epoch

    phases = [kerasft.Phase("top", patience=1, monitor="score", mode="max"), kerasft.Phase(0)]
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    callbacks = [Falling(), kerasft.GradualUnfreezing(phases), swap, Look()]
    fit(averaging(dense_model), *callbacks, epochs=3)
    begins, ends = seen[::2], seen[1::2]
    for found, expected in zip(begins[2], ends[0], strict=True):  # both as the first epoch left them
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert np.abs(ends[1][0] - ends[0][0]).max() > 1e-4
    assert np.abs(ends[0][0] - ends[0][1]).max() > 1e-4
