"""The cut follows the depth: by a schedule, by a user, and by somebody who writes frozen weights."""

import logging

import keras
import numpy as np
import pytest
from cached_fits import BATCH, data, staged

import kerasft
from kerasft import PrefixCache


@pytest.mark.parametrize("first", [True, False])
def test_gradual_unfreezing_moves_from_record_to_record(first):
    schedule = kerasft.UnfreezingSchedule.from_depths(["head", "block_2", "block_1"], every=2)
    runs = []
    for cache in (None, PrefixCache()):
        model = staged()
        unfreezing = kerasft.GradualUnfreezing(schedule)
        callbacks = [unfreezing] if cache is None else [unfreezing, cache] if first else [cache, unfreezing]
        history = model.fit(
            *data(), epochs=6, batch_size=BATCH, shuffle=False, verbose=0, callbacks=callbacks
        )
        runs.append((model, history.history, unfreezing.report))
    (plain, wanted, report), (model, found, same) = runs
    assert wanted["freeze_depth"] == found["freeze_depth"] == [3, 3, 2, 2, 1, 1]
    np.testing.assert_allclose(found["loss"], wanted["loss"], atol=1e-5)
    for a, b in zip(plain.weights, model.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=a.path)
    assert cache.report.replayed == [False] + [True] * 5  # all cuts were recorded in the first epoch
    assert [[s.steps for s in p.stages] for p in report] == [[s.steps for s in p.stages] for p in same]


def test_freezing_again_records_anew():
    schedule = [kerasft.Phase("head", 2), kerasft.Phase("block_1", 2), kerasft.Phase("block_2", 2)]
    runs = []
    for cache in ([], [PrefixCache()]):
        model = staged()
        callbacks = [kerasft.GradualUnfreezing(schedule), *cache]
        model.fit(*data(), epochs=6, batch_size=BATCH, shuffle=False, verbose=0, callbacks=callbacks)
        runs.append(model)
    for a, b in zip(runs[0].weights, runs[1].weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=a.path)
    # block_1 trains in epochs 2 and 3, so what lies before block_2 is recorded anew in epoch 4
    assert cache[0].report.replayed == [False, True, True, True, False, True]


class At(keras.callbacks.Callback):
    """Does something at the beginning of an epoch."""

    def __init__(self, epoch, action):
        super().__init__()
        self.epoch, self.action = epoch, action

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            self.action(self.model)


@pytest.mark.parametrize("first", [True, False])
def test_a_user_who_thaws_inside_fit(first):
    def train(cache):
        thaw = At(2, lambda model: kerasft.freeze(model, "block_2"))
        callbacks = [] if cache is None else [cache]
        callbacks = [thaw, *callbacks] if first else [*callbacks, thaw]
        model = staged()
        before = model.get_layer("backbone").get_layer("block_2_conv").kernel.numpy()
        model.fit(*data(), epochs=5, batch_size=BATCH, shuffle=False, verbose=0, callbacks=callbacks)
        assert (
            np.abs(model.get_layer("backbone").get_layer("block_2_conv").kernel.numpy() - before).max() > 1e-4
        )
        return model

    cache = PrefixCache()
    for a, b in zip(train(None).weights, train(cache).weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=a.path)
    assert cache.report.replayed == [False, True, False, True, True]


def test_flags_that_keras_does_not_see_are_followed_and_said(caplog):
    def toggle(model):
        for layer in model.get_layer("backbone").layers:
            layer.trainable = layer.name.startswith("block_2")
        model.get_layer("backbone").get_layer("block_2_bn").trainable = False

    model, cache = staged(), PrefixCache()
    layer = model.get_layer("backbone").get_layer("block_2_conv")
    before = layer.kernel.numpy()
    with caplog.at_level(logging.WARNING):
        model.fit(*data(), epochs=4, batch_size=BATCH, verbose=0, callbacks=[At(2, toggle), cache])
    assert "which Keras does not see" in caplog.text and "epoch 2" in caplog.text
    assert np.abs(layer.kernel.numpy() - before).max() > 1e-4


def test_frozen_weights_that_someone_writes_are_recorded_anew():
    def write(model):
        kernel = model.get_layer("backbone").get_layer("block_0_conv").kernel
        kernel.assign(kernel + 0.5)

    def train(callbacks):
        model = staged()
        model.fit(*data(), epochs=5, batch_size=BATCH, shuffle=False, verbose=0, callbacks=callbacks)
        return model

    cache = PrefixCache()
    for a, b in zip(train([At(2, write)]).weights, train([At(2, write), cache]).weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=a.path)
    assert cache.report.replayed == [False, True, False, True, True]


def test_all_thawed_and_nothing_trains_and_nothing_frozen():
    model, cache = staged(), PrefixCache()
    schedule = [kerasft.Phase("head", 2), kerasft.Phase(0, 2)]
    model.fit(
        *data(), epochs=4, batch_size=BATCH, verbose=0, callbacks=[kerasft.GradualUnfreezing(schedule), cache]
    )
    assert cache.report.replayed == [False, True, False, False]
    assert "Nothing frozen comes first: the layer 'block_0_conv' trains." in cache.reason
