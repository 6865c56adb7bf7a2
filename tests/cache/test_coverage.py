"""What of the frozen layers is not covered is named, with what helps; little is not recorded."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasft
from kerasft import _keras
from kerasft.cache.cut_plan import CutPlan
from kerasft.cache.cuts import find_cut

layers = keras.layers
X, Y = np.random.default_rng(0).normal(size=(16, 8)).astype("float32"), np.ones((16, 1), "float32")


def chain(first=8, drop=None, inside=8, **options):
    parts = [
        keras.Input((8,)),
        layers.Dense(first, name="a"),
        layers.Dropout(0.5, name="first_drop") if drop is None else drop,
        layers.Dense(inside, name="b", **options),
        layers.Dropout(0.5, name="head_drop"),
        layers.Dense(1, name="head"),
    ]
    model = keras.Sequential(parts)
    model.compile("sgd", "mse")
    return model


def fitted(model, epochs=3, **options):
    cache = kerasft.PrefixCache(**options)
    reasons = keras.callbacks.LambdaCallback(on_epoch_begin=lambda e, logs: said.append(cache.reason))
    said = []
    model.fit(X, Y, batch_size=8, epochs=epochs, verbose=0, callbacks=[cache, reasons])
    return cache, said[-1]


ADVICE = (
    "The frozen layer 'first_drop' draws random numbers while the model trains. "
    'With dropout="inference" in freeze, GradualUnfreezing or load_backbone it draws none, '
    "and can be recorded."
)


def test_what_draws_in_the_frozen_part_is_named_with_what_helps(caplog):
    model = chain()
    kerasft.freeze(model, "head")
    report = kerasft.inspect_prefix(model)
    assert (report.cut, report.reason) == ("a", ADVICE)
    assert str(report).startswith("Cached up to 'a': ") and str(report).endswith(ADVICE)
    cache, reason = fitted(model)
    assert reason == cache.reason == ADVICE and cache.report.cut == "a"
    assert caplog.text.count(ADVICE) == 1
    assert cache.report.replayed == [False, True, True]


def test_with_the_policy_all_that_is_frozen_is_recorded(caplog):
    model = chain()
    kerasft.freeze(model, "head", dropout="inference")
    report = kerasft.inspect_prefix(model)
    assert (report.cut, report.reason) == ("b", None)
    cache, reason = fitted(model)
    assert (reason, cache.reason, cache.report.cut) == (None, None, "b")
    assert cache.report.replayed == [False, True, True]
    assert "PrefixCache" not in caplog.text


def test_a_fit_from_the_record_is_that_without_it():
    def weights(*callbacks):
        keras.utils.set_random_seed(0)
        model = chain()
        kerasft.freeze(model, "head", dropout="inference")
        model.fit(X, Y, batch_size=16, epochs=4, shuffle=False, verbose=0, callbacks=[*callbacks])
        return [v.numpy() for v in model.weights]

    plain, cached = weights(), weights(kerasft.PrefixCache(seed=0))
    assert all(np.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(plain, cached, strict=True))


def test_augmentation_is_named_without_advice():
    model = keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            layers.RandomFlip(name="flip"),
            layers.Conv2D(4, 3, name="conv"),
            layers.Flatten(),
            layers.Dense(1, name="head"),
        ]
    )
    kerasft.freeze(model, "head", dropout="inference")
    reason = kerasft.inspect_prefix(model).reason
    assert "'flip' draws random numbers" in reason and "dropout=" not in reason


class Grain(layers.Layer):
    """Noise that only its call tells of."""

    def call(self, x, training=None):
        return x + keras.random.uniform(keras.ops.shape(x)) if training else x


class Outside(layers.Layer):
    """Noise from elsewhere than TensorFlow."""

    def call(self, x, training=None):
        if not training:
            return x
        noise = np.random.default_rng(0)
        noisy = tf.numpy_function(lambda t: t + noise.random(t.shape, "float32"), [x], tf.float32)
        return tf.ensure_shape(noisy, x.shape)


class Calm(layers.Layer):
    """Draws nothing, whatever its attribute seems to say."""

    rate = 0.5

    def __init__(self, **options):
        super().__init__(**options)
        self.unused = keras.random.SeedGenerator(1)

    def call(self, x, training=None):
        return x * self.rate


@pytest.mark.parametrize("drop", [Grain, Outside])
def test_what_tracing_finds_is_named_as_well(drop, caplog):
    model = chain(drop=drop(name="first_drop"))
    kerasft.freeze(model, "head")
    cache, reason = fitted(model)
    assert reason == cache.reason == kerasft.inspect_prefix(model).reason == ADVICE
    assert caplog.text.count(ADVICE) == 1
    kerasft.freeze(model, "head", dropout="inference")
    assert fitted(model)[1] is None


def test_a_layer_with_a_rate_that_draws_nothing_is_recorded():
    model = chain(drop=Calm(name="first_drop"))
    kerasft.freeze(model, "head")
    report = kerasft.inspect_prefix(model)
    assert (report.cut, report.reason) == ("b", None)
    assert fitted(model)[0].report.replayed == [False, True, True]


def test_another_reason_is_named_as_it_is():
    model = chain(drop=layers.Activation("relu"), activity_regularizer="l2")
    kerasft.freeze(model, "head", dropout="inference")
    assert kerasft.inspect_prefix(model).reason == "The frozen layer 'b' has an activity regularizer."


def test_less_than_a_twentieth_is_not_recorded(tmp_path):
    model = chain(first=2, inside=400)  # 8·2 + 2 of 18 + 1200 + 401 multiplications
    kerasft.freeze(model, "head")
    report = kerasft.inspect_prefix(model)
    assert report.cut is None and report.share == 0.0
    said = r"A record at 'a' would save 1\.\d% of the model's work; it pays from 5% on"
    assert re.match(said, report.reason) and report.reason.endswith(ADVICE)
    cache, reason = fitted(model, storage=tmp_path / "records", keep=True)
    assert "it pays from 5% on" in reason and reason.endswith(ADVICE)
    assert cache.report.samples == 0 and not any(cache.report.replayed)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    kerasft.freeze(model, "head", dropout="inference")
    assert fitted(model)[1] is None
    kerasft.freeze(model, "b")
    cache, reason = fitted(model, cut_plan=CutPlan(least_share=0.0))
    assert cache.report.cut == "a"


class Lexicon(layers.Layer):
    """A user's own table of words."""

    def build(self, shape):
        self.rows = self.add_weight(shape=(5000, 8), name="rows")

    def call(self, ids):
        return keras.ops.take(self.rows, ids, axis=0)


def text(dropout, table=layers.Embedding):
    """An encoder as KerasHub's are: a lookup, dropout, then layers that do the work."""
    ids = keras.Input((6,), dtype="int32")
    words = {"input_dim": 5000, "output_dim": 8} if table is layers.Embedding else {}
    x = table(name="words", **words)(ids)
    x = layers.Dropout(0.1, name="words_drop")(x)
    x = layers.Dense(64, name="body")(x)
    x = layers.GlobalAveragePooling1D(name="pooling")(x)
    model = keras.Model(ids, layers.Dense(1, name="head")(x))
    kerasft.freeze(model, "head", dropout=dropout)
    return model


@pytest.mark.parametrize("table", [layers.Embedding, Lexicon])
def test_to_look_up_words_is_no_work(table):
    report = kerasft.inspect_prefix(text(None, table))
    assert report.cut is None
    assert report.reason.startswith("What is frozen first saves no work: the layer 'words_drop' draws")
    assert "'words_drop' draws random numbers" in report.reason
    model = text("inference", table)
    report = kerasft.inspect_prefix(model)
    assert (report.cut, report.reason) == ("pooling", None)
    assert find_cut(_keras.program(model)).cost == (8 * 64 + 64) * 6  # `body` at six places
    assert report.share > 0.9  # 40,000 weights that are looked up do not count


def test_a_schedule_brings_its_policy(caplog):
    model = chain()
    schedule = [kerasft.Phase("head", 2), kerasft.Phase("b", 2)]
    cache = kerasft.PrefixCache()
    unfreezing = kerasft.GradualUnfreezing(schedule, dropout="inference")
    model.fit(X, Y, batch_size=8, epochs=4, verbose=0, callbacks=[unfreezing, cache])
    assert cache.report.replayed == [False, True, True, True]
    assert cache.report.cut == "a"
    assert "PrefixCache" not in caplog.text
