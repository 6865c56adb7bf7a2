"""PrefixCache over its life: copies, several fits, and fits that are broken off."""

import copy

import keras
import pytest
from cached_fits import BATCH, data, image_model

from kerasft import PrefixCache


def test_two_fits_in_a_row():
    cache, model = PrefixCache(), image_model()
    for epochs in (2, 3):
        model.fit(*data(), epochs=epochs, batch_size=BATCH, verbose=0, callbacks=[cache])
        assert cache.report.replayed == [False] + [True] * (epochs - 1)
    stock = model.train_function
    model.fit(*data(), batch_size=BATCH, verbose=0)
    assert model.train_function is stock and model.train_function is not cache


def test_stopping_in_the_middle_of_the_recording_epoch():
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 2

    model, cache = image_model(), PrefixCache()
    stock = model.train_function
    model.fit(*data(), epochs=3, batch_size=BATCH, verbose=0, callbacks=[Stop(), cache])
    assert cache.report.replayed == [False]
    assert model.train_function is not stock


@pytest.mark.parametrize("when", ["on_epoch_end", "on_train_batch_end", "on_test_batch_end"])
def test_after_an_exception_the_model_trains_as_if_nothing_had_been(when):
    class Fail(keras.callbacks.Callback):
        pass

    def fail(self, number, logs=None):
        raise KeyboardInterrupt

    setattr(Fail, when, fail)
    plain, model, cache = image_model(), image_model(), PrefixCache()
    options = {"batch_size": BATCH, "shuffle": False, "verbose": 0, "validation_data": data(10)}
    with pytest.raises(KeyboardInterrupt):
        model.fit(*data(), epochs=3, callbacks=[cache, Fail()], **options)
    model.set_weights(plain.get_weights())
    x, y = data()
    evaluated = model.evaluate(x, y, verbose=0)
    assert evaluated[0] == pytest.approx(plain.evaluate(x, y, verbose=0)[0], abs=1e-6)
    history = model.fit(x[::-1] + 1, y, epochs=2, **options)
    assert cache.report.replayed.count(True) == 0 and len(history.history["loss"]) == 2


def test_a_copy_is_a_cache_of_its_own():
    """As keras-tuner makes one for each trial."""
    cache = PrefixCache(max_bytes=10**6)
    other = copy.deepcopy(cache)
    image_model().fit(*data(), epochs=2, batch_size=BATCH, verbose=0, callbacks=[other])
    assert other.report.replayed == [False, True] and cache.report.replayed == []


def test_two_caches():
    with pytest.raises(ValueError, match="two PrefixCache"):
        image_model().fit(*data(), verbose=0, callbacks=[PrefixCache(), PrefixCache()])
