"""PrefixCache over its life: copies, several fits, and fits that are broken off."""

import copy
import gc
import pickle

import keras
import pytest
import tensorflow as tf
from cached_fits import BATCH, data, image_model
from tensorflow.python.framework import ops

from kerasft import PrefixCache
from kerasft.cache.step_function import CachedStepFunction


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
    for function in (model.train_function, model.test_function):
        assert not isinstance(function, CachedStepFunction)
    for other in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        assert other.model is None and other.reason == cache.reason
    model.set_weights(plain.get_weights())
    x, y = data()
    evaluated = model.evaluate(x, y, verbose=0)
    assert evaluated[0] == pytest.approx(plain.evaluate(x, y, verbose=0)[0], abs=1e-6)
    history = model.fit(x[::-1] + 1, y, epochs=2, **options)
    assert cache.report.replayed.count(True) == 0 and len(history.history["loss"]) == 2


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda cache: pickle.loads(pickle.dumps(cache))])
def test_a_copy_is_a_cache_of_its_own(copied):
    """As keras-tuner makes one for each trial; before a fit, and after one, without the model."""
    cache = PrefixCache(max_bytes=10**6)
    other = copied(cache)
    options = {"batch_size": BATCH, "verbose": 0}
    image_model().fit(*data(), epochs=2, callbacks=[other], **options)
    assert other.report.replayed == [False, True] and cache.report.replayed == []
    third, model = copied(other), image_model()
    assert third.report.replayed == [False, True] and third.model is None
    model.fit(*data(), epochs=3, callbacks=[third], **options)
    assert third.report.replayed == [False, True, True] and third.model is model
    assert other.report.replayed == [False, True]


def test_other_validation_data_in_each_fit():
    x, y = data()
    model, cache = image_model(), PrefixCache()
    options = {"epochs": 2, "batch_size": BATCH, "verbose": 0, "callbacks": [cache]}
    for given in ((x[:10], y[:10]), (x, y), (x[:10], 2 - y[:10])):
        history = model.fit(x, y, validation_data=given, **options).history
        assert history["val_loss"][-1] == pytest.approx(model.evaluate(*given, verbose=0)[0], abs=1e-5)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("known_length", [True, False])
def test_empty_data_give_what_plain_keras_gives(known_length):
    x, y = data()
    rows = tf.data.Dataset.from_tensor_slices((x[:0], y[:0])).batch(BATCH)
    if not known_length:
        rows = rows.filter(lambda x, y: True)
    histories = []
    for callbacks in ([], [PrefixCache()]):
        history = image_model().fit(rows, epochs=2, verbose=0, shuffle=False, callbacks=callbacks)
        histories.append(history.history)
    assert histories[0] == histories[1]


def test_a_fit_gives_its_memory_back():
    """TensorFlow's table of gradients holds the graph of each step that is traced, unless it is taken out."""
    model = image_model()
    options = {"epochs": 2, "batch_size": BATCH, "verbose": 0, "validation_data": data(10)}
    counts = []
    for _ in range(3):
        model.fit(*data(), callbacks=[PrefixCache()], **options)
        gc.collect()
        graphs = sum(type(found).__name__ == "FuncGraph" for found in gc.get_objects())
        counts.append((len(ops.gradient_registry._registry), graphs))
    assert counts[0] == counts[1] == counts[2]


def test_two_caches():
    with pytest.raises(ValueError, match="two PrefixCache"):
        image_model().fit(*data(), verbose=0, callbacks=[PrefixCache(), PrefixCache()])
