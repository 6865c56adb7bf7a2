"""Other callbacks of a fit see what they would see without the cache."""

import keras
import numpy as np
import pytest
from cached_fits import BATCH, data, image_model

import kerasft
from kerasft import PrefixCache
from kerasft.cache.other_callbacks import depth_schedule, looks_between_steps


class Steps(keras.callbacks.Callback):
    """Looks at the model after each step."""

    def __init__(self):
        super().__init__()
        self.weights, self.losses = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append(self.model.layers[-1].kernel.numpy())
        self.losses.append(logs["loss"])


class Shown(Steps):
    """Says that it does not look."""

    display_only = True


def test_callbacks_that_look_between_steps_see_each_step():
    seen = []
    for caches in ([], [PrefixCache()]):
        steps = Steps()
        image_model().fit(
            *data(), epochs=3, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[steps, *caches]
        )
        seen.append(steps)
    np.testing.assert_allclose(seen[0].losses, seen[1].losses, atol=1e-5)
    np.testing.assert_allclose(seen[0].weights, seen[1].weights, atol=1e-5)


def test_callbacks_that_do_not_look_get_the_logs_of_each_step():
    steps, plain = Shown(), Steps()
    for callbacks in ([plain], [steps, PrefixCache()]):
        image_model().fit(*data(), epochs=3, batch_size=BATCH, shuffle=False, verbose=0, callbacks=callbacks)
    np.testing.assert_allclose(steps.losses, plain.losses, atol=1e-5)
    same = [np.array_equal(a, b) for a, b in zip(steps.weights[6:12], steps.weights[7:12], strict=False)]
    assert all(same)  # the whole epoch was one call


def test_keras_callbacks_work(tmp_path):
    x, y = data(12)
    callbacks = [
        keras.callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=10.0),
        keras.callbacks.ModelCheckpoint(tmp_path / "model.keras"),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.TensorBoard(tmp_path / "board"),
        keras.callbacks.TerminateOnNaN(),
    ]
    model, cache = image_model(), PrefixCache()
    model.fit(
        *data(), epochs=5, batch_size=BATCH, verbose=0, validation_data=(x, y), callbacks=[*callbacks, cache]
    )
    assert any(cache.report.replayed)
    saved = keras.models.load_model(tmp_path / "model.keras")
    assert saved.predict(x, verbose=0).shape == (12, 3)


@pytest.mark.parametrize(
    ("callback", "looks"),
    [
        (keras.callbacks.History(), False),
        (keras.callbacks.EarlyStopping(), False),
        (keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None), True),
        (keras.callbacks.TensorBoard(update_freq="epoch"), False),
        (keras.callbacks.TensorBoard(update_freq=2), True),
        (keras.callbacks.ModelCheckpoint("model.keras"), False),
        (keras.callbacks.ModelCheckpoint("model.keras", save_freq=2), True),
        (Steps(), True),
        (Shown(), False),
    ],
)
def test_who_looks_between_steps(callback, looks):
    assert [looks_between_steps(callback, accumulates) for accumulates in (False, True)] == [looks, looks]


def test_a_schedule_looks_while_gradients_accumulate():
    schedule = kerasft.GradualUnfreezing([kerasft.Phase("head", 1)])
    assert looks_between_steps(schedule, True) and not looks_between_steps(schedule, False)
    assert depth_schedule([keras.callbacks.History(), schedule]) is schedule
    assert depth_schedule([keras.callbacks.History()]) is None
