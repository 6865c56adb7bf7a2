"""The policy for random numbers in frozen layers, against plain Keras with the rates written down as 0."""

import keras
import numpy as np
import pytest

import kerasft
from kerasft.freezing import dropout_policy

layers = keras.layers
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(24, 8)).astype("float32"), RNG.normal(size=(24, 1)).astype("float32")
SEQUENCE = {"return_sequences": True}


class Path(layers.Layer):
    """Stochastic depth, as KerasHub writes it."""

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.rate, self.generator = rate, keras.random.SeedGenerator(3)

    def call(self, x, training=None):
        if not training or self.rate == 0.0:
            return x
        shape = (keras.ops.shape(x)[0], *[1] * (len(x.shape) - 1))
        keep = 1.0 - self.rate
        return x / keep * keras.ops.floor(keep + keras.random.uniform(shape, seed=self.generator))


KINDS = {
    "dropout": lambda rate: layers.Dropout(rate, seed=1),
    "depth of keras.applications": lambda rate: layers.Dropout(rate, noise_shape=(None, 1, 1), seed=1),
    "spatial": lambda rate: layers.SpatialDropout1D(rate, seed=1),
    "noise": lambda rate: layers.GaussianNoise(rate, seed=1),
    "gaussian": lambda rate: layers.GaussianDropout(rate, seed=1),
    "alpha": lambda rate: layers.AlphaDropout(rate, seed=1),
    "path": Path,
    "recurrent": lambda rate: layers.GRU(
        4, dropout=rate, recurrent_dropout=rate, return_sequences=True, seed=1
    ),
    "wrapped": lambda rate: layers.Bidirectional(layers.LSTM(4, dropout=rate, seed=1, **SEQUENCE)),
    "attention": lambda rate: Attends(rate),
}


class Attends(layers.Layer):
    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.attention = layers.MultiHeadAttention(2, 2, dropout=rate, seed=1)
        self.drop = layers.Dropout(rate, seed=2)

    def call(self, x):
        return self.drop(self.attention(x, x))


def model_of(kind, rate, head=0.5):
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8,))
    x = layers.Reshape((4, 2))(x)
    x = layers.Dense(4, name="a")(x)
    x = KINDS[kind](rate)(x)
    x = layers.Dense(4, name="b")(x)
    x = layers.Dropout(head, seed=7, name="head_drop")(layers.Flatten()(x))
    model = keras.Model(inputs, layers.Dense(1, name="head")(x))
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return model


def values(model):
    losses = model.fit(X, Y, batch_size=8, epochs=1, shuffle=False, verbose=0).history["loss"]
    return [*losses, *(v.numpy() for v in model.weights)]


def equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_part_in_inference_trains_as_if_nothing_in_it_drew(kind):
    wanted = model_of(kind, 0.0)
    if kind == "attention":  # which multiplies in another order if it was built with the rate 0
        wanted = model_of(kind, 0.4)
        for part in wanted.layers[3]._flatten_layers():
            part.rate = 0.0
    for name in ("a", "b"):
        wanted.get_layer(name).trainable = False
    wanted.layers[3].trainable = False
    wanted = values(wanted)
    held = model_of(kind, 0.4)
    kerasft.freeze(held, "head", dropout="inference")
    assert equal(values(held), wanted)
    plain = model_of(kind, 0.4)
    kerasft.freeze(plain, "head")
    assert not equal(values(plain), wanted)


def test_the_dropout_of_the_head_stays_active():
    found = []
    for rate in (0.5, 0.0):
        model = model_of("dropout", 0.4, head=rate)
        kerasft.freeze(model, "head", dropout="inference")
        found.append(values(model))
    assert not equal(*found)


def test_the_policy_counts_in_a_fitted_model_and_goes_again():
    model = model_of("dropout", 0.4, head=0.0)
    stages = kerasft.freeze(model, "head")

    def loss():  # the same weights and the same data give the same loss, unless something draws
        losses = []
        for _ in range(2):
            for variable, value in zip(model.weights, start, strict=True):
                variable.assign(value)
            losses.append(model.fit(X, Y, batch_size=24, shuffle=False, verbose=0).history["loss"][0])
        return losses[0] == losses[1]

    start = [v.numpy() for v in model.weights]
    assert not loss()
    kerasft.freeze(model, "head", dropout="inference")
    assert dropout_policy(stages) == "inference"
    assert loss()
    with kerasft.frozen(model, "head"):
        assert dropout_policy(stages) is None
        assert not loss()
    assert dropout_policy(stages) == "inference"
    assert loss()
    kerasft.freeze(model, "a", dropout="inference")  # thawed as a whole
    assert not loss()
    kerasft.freeze(model, "head")
    assert dropout_policy(stages) is None
    assert not loss()


def test_what_thaws_in_a_fit_draws_from_then_on():
    def run(rate, policy, schedule):
        model = model_of("dropout", rate)
        model.fit(
            *(X, Y), batch_size=8, epochs=2, shuffle=False, verbose=0,
            callbacks=[kerasft.GradualUnfreezing(schedule, dropout=policy)],
        )  # fmt: skip
        return [v.numpy() for v in model.weights]

    phases = [kerasft.Phase("head", 1), kerasft.Phase("a", 1)]
    found = run(0.4, "inference", phases)
    assert not equal(found, run(0.4, None, phases))
    by_hand = model_of("dropout", 0.0)  # the first epoch without, the second one with dropout
    for name in ("a", "b"):
        by_hand.get_layer(name).trainable = False
    by_hand.compile(keras.optimizers.SGD(0.01), "mse")
    by_hand.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
    second = model_of("dropout", 0.4)
    for variable, value in zip(second.weights, by_hand.weights, strict=True):
        variable.assign(value)
    seeds = second.get_layer("head_drop").seed_generator, by_hand.get_layer("head_drop").seed_generator
    seeds[0].state.assign(seeds[1].state)
    second.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
    assert equal(found, [v.numpy() for v in second.weights])


def test_train_draws_where_a_call_says_that_nothing_trains():
    class Head(keras.Model):
        def __init__(self, body):
            super().__init__()
            self.body, self.top = body, layers.Dense(1, name="top")

        def call(self, x, training=None):
            return self.top(self.body(x, training=False))

    def loss(policy):
        keras.utils.set_random_seed(0)
        body = keras.Sequential([keras.Input((8,)), layers.Dense(8, name="a"), layers.Dropout(0.5, seed=1)])
        model = Head(body)
        model(X)
        model.compile(keras.optimizers.SGD(0.01), "mse")
        kerasft.freeze(kerasft.find_stages(model, at=["a", "top"]), "top", dropout=policy)
        trained = model.fit(X, Y, batch_size=24, verbose=0).history["loss"][0]
        return trained, model.evaluate(X, Y, batch_size=24, verbose=0)

    assert loss(None) == loss("inference")  # its call says so
    trained, tested = loss("train")
    assert trained != loss(None)[0]
    assert tested != trained


@pytest.mark.parametrize("call", [kerasft.freeze, kerasft.unfreeze])
def test_another_policy_is_refused(call):
    model = model_of("dropout", 0.4)
    arguments = (model, 1) if call is kerasft.freeze else (model,)
    with pytest.raises(ValueError, match='dropout is "inference", "train" or None, not 0.5'):
        call(*arguments, dropout=0.5)
    assert model.get_layer("a").trainable


def test_flags_that_were_kept_know_the_policy():
    from kerasft.freezing import Flags

    model = model_of("dropout", 0.4)
    kerasft.freeze(model, "head")
    flags = Flags(model)
    kerasft.freeze(model, "head", dropout="inference")
    assert "layer 'a'" in flags.changed()
    flags.restore()
    assert flags.changed() == []
