"""Models with methods of their own outside the step: nothing changes for them, or the reason says so."""

import keras
import numpy as np
import pytest

import kerasft
from kerasft import PrefixCache

layers = keras.layers
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(16, 4)).astype("float32"), RNG.normal(size=(16, 2)).astype("float32")


class OwnFit(keras.Model):
    """Changes what it is given, then fits."""

    def fit(self, x=None, y=None, **options):
        return super().fit(0.5 * x, y, **options)


class TwoFits(keras.Model):
    """Fits twice, on different data."""

    def fit(self, x=None, y=None, **options):
        super().fit(x, y, **options)
        return super().fit(-x, y, **options)


class OwnLoop(keras.Model):
    """Has no fit of Keras at all."""

    def fit(self, x=None, y=None, epochs=1, callbacks=(), **options):
        heard = keras.callbacks.CallbackList(callbacks, model=self, add_history=True)
        heard.on_train_begin()
        for epoch in range(epochs):
            heard.on_epoch_begin(epoch)
            heard.on_train_batch_begin(0)
            heard.on_train_batch_end(0, self.train_on_batch(x, y, return_dict=True))
            heard.on_epoch_end(epoch)
        heard.on_train_end()


class OwnPrediction(keras.Model):
    def predict_step(self, data):
        return -super().predict_step(data)


class OwnSamples(keras.Model):
    """As KerasHub's tasks preprocess."""

    def preprocess_samples(self, x, y=None, sample_weight=None):
        return x + 1, y

    def fit(self, x=None, y=None, **options):
        return super().fit(*self.preprocess_samples(x, y), **options)


class Louder(keras.Model):
    """Calls its layers on something else than it is given."""

    def __call__(self, x, *arguments, **options):
        return super().__call__(x if keras.utils.is_keras_tensor(x) else 2 * x, *arguments, **options)


class Checking(keras.Model):
    """Looks at what it is given, and calls its layers on that."""

    def __call__(self, x, *arguments, **options):
        assert len(x.shape) == 2
        return super().__call__(x, *arguments, **options)


def model_of(kind):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    x = layers.Dense(8, "tanh", name="b")(layers.Dense(8, "tanh", name="a")(inputs))
    model = kind(inputs, layers.Dense(2, name="head")(x))
    kerasft.freeze(model, "head")
    return model


def nested(kind):
    keras.utils.set_random_seed(0)
    a, b = keras.Input((4,)), keras.Input((4,))
    x = layers.Dense(4, "tanh", name="a")(a)
    body = kind(a, layers.Dense(8, "tanh", name="b")(x), name="body")
    model = keras.Model(b, layers.Dense(2, name="head")(body(b)))
    kerasft.freeze(model, "head")
    return model


def fitted(model, *callbacks):
    model.compile("sgd", "mse", metrics=["mae"])
    model.fit(X, Y, batch_size=8, epochs=3, shuffle=False, verbose=0, callbacks=[*callbacks])
    return model.get_weights(), model.predict(X, verbose=0)


@pytest.mark.parametrize(
    ("make", "kind", "reason"),
    [
        (model_of, OwnFit, None),
        (model_of, TwoFits, None),
        (model_of, OwnLoop, "Keras's fit was not found on the stack; another program calls the callbacks."),
        (model_of, OwnPrediction, None),
        (model_of, OwnSamples, None),
        (model_of, Checking, None),
        (model_of, Louder, "The model has its own __call__, which gives something else than its layers"),
        (nested, Checking, None),
        (nested, Louder, None),  # is called as a whole
    ],
)
def test_a_fit_is_that_without_the_cache_whatever_the_model_does_itself(make, kind, reason):
    cache = PrefixCache()
    (cached, scores), (plain, expected) = fitted(make(kind), cache), fitted(make(kind))
    for mine, theirs in zip([*cached, scores], [*plain, expected], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    if reason is None:
        assert cache.reason is None and cache.report.replayed[-2:] == [True, True]
    else:
        assert cache.reason.startswith(reason) and not any(cache.report.replayed)


def test_inspection_knows_of_a_call_that_is_not_that_of_the_layers():
    assert "its own __call__" in kerasft.inspect_prefix(model_of(Louder)).reason
    assert kerasft.inspect_prefix(model_of(Checking)).cut == "b"


def test_a_task_of_keras_hub_has_a_harmless_call():
    keras_hub = pytest.importorskip("keras_hub")
    backbone = keras_hub.models.BertBackbone(30, 1, 2, 8, 8, dropout=0.0, max_sequence_length=6)
    model = keras_hub.models.BertTextClassifier(backbone, 2, dropout=0.0)
    assert type(model).__call__ is not keras.Layer.__call__
    kerasft.freeze(model, len(kerasft.find_stages(model)) - 1)
    assert kerasft.inspect_prefix(model).share > 0.9
