"""Every kind of model that can be divided: training from the record is equal to training without it."""

import keras
import numpy as np
import pytest
from cached_fits import BATCH, COUNT, arrays, compare, compiled, data, dataset, half_frozen, layers

import kerasft
from kerasft import PrefixCache


def sequential():
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((6, 6, 2)), *layers(), keras.layers.Dense(3)])
    for layer in model.layers[:4]:
        layer.trainable = False
    return compiled(model)


def nested_sequential():
    keras.utils.set_random_seed(1)
    body = keras.Sequential([keras.Input((6, 6, 2)), *layers()])
    body.trainable = False
    return compiled(keras.Sequential([body, keras.layers.Dense(3)]))


def sequential_without_an_input():
    keras.utils.set_random_seed(1)
    model = keras.Sequential([*layers(), keras.layers.Dense(3)])
    for layer in model.layers[:4]:
        layer.trainable = False
    return compiled(model)


@pytest.mark.parametrize("kind", ["arrays", "dataset"])
def test_a_sequential_model_that_is_not_built_yet(kind):
    weights = []
    for callbacks in ([], [cache := PrefixCache()]):
        model = sequential_without_an_input()
        options = {"epochs": 4, "shuffle": False, "verbose": 0, "callbacks": callbacks}
        if kind == "arrays":
            model.fit(*data(), batch_size=BATCH, **options)
        else:
            model.fit(*dataset(), **options)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert cache.report.replayed[-1] and cache.report.cut == "body_pool"


@pytest.mark.parametrize("build", [sequential, nested_sequential, half_frozen])
def test_kinds_of_models(build):
    _, cache = compare(build, arrays, batch_size=BATCH)
    assert cache.report.cut == ("a_add" if build is half_frozen else "body_pool")


def two_inputs():
    keras.utils.set_random_seed(1)
    a, b = keras.Input((6, 6, 2), name="a"), keras.Input((6, 6, 2), name="b")
    body = keras.layers.Conv2D(4, 3, trainable=False)  # shared
    x = keras.layers.Subtract(name="difference")([body(a), body(b)])
    x = keras.layers.GlobalAveragePooling2D()(x)
    return compiled(keras.Model({"a": a, "b": b}, keras.layers.Dense(3)(x)))


def test_several_inputs_in_a_dict():
    x, y = data()
    options = {"batch_size": BATCH}
    compare(two_inputs, lambda: ({"a": x, "b": x[::-1]}, y), **options)


def test_several_inputs_in_a_tuple_and_several_outputs():
    def build():
        keras.utils.set_random_seed(1)
        a, b = keras.Input((6, 6, 2)), keras.Input((3,))
        x = keras.layers.Conv2D(4, 3, trainable=False)(a)
        x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
        joined = keras.layers.Concatenate()([x, keras.layers.Rescaling(0.5)(b)])
        outputs = {
            "one": keras.layers.Dense(3, name="one")(joined),
            "two": keras.layers.Dense(1, name="two")(x),
        }
        loss = {"one": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "two": "mse"}
        model = keras.Model([a, b], outputs)
        model.compile(keras.optimizers.Adam(0.02), loss, metrics={"one": ["accuracy"], "two": ["mae"]})
        return model

    x, y = data()
    targets = {"one": y, "two": y[:, None].astype("float32")}
    side = np.random.default_rng(3).normal(size=(COUNT, 3)).astype("float32")
    _, cache = compare(build, lambda: ((x, side), targets), batch_size=BATCH)
    assert cache.report.cut == "pool"  # the second input passes it by


def tokens_model():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((7,), dtype="int32")
    x = keras.layers.Embedding(20, 6, mask_zero=True, name="embed", trainable=False)(inputs)
    x = keras.layers.LSTM(4, return_sequences=True, name="frozen_lstm", trainable=False)(x)
    x = keras.layers.LSTM(4, name="lstm")(x)
    return compiled(keras.Model(inputs, keras.layers.Dense(3)(x)))


def test_masks_are_recorded_too():
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 20, (COUNT, 7)) * (np.arange(7) < rng.integers(2, 8, (COUNT, 1)))
    _, cache = compare(tokens_model, lambda: (tokens.astype("int32"), data()[1]), batch_size=BATCH)
    assert cache.report.cut == "frozen_lstm"


def test_a_staged_hub_model(tmp_path, make_backbone):
    kerasft.export.to_saved_model(make_backbone(), tmp_path / "saved", reusable=True)

    def build():
        keras.utils.set_random_seed(1)
        backbone = kerasft.hub.load_backbone(tmp_path / "saved")
        inputs = keras.Input((8, 8, 3))
        x = keras.layers.GlobalAveragePooling2D()(backbone(inputs))
        model = keras.Model(inputs, keras.layers.Dense(3)(x))
        kerasft.freeze(model, "block_2")
        return compiled(model)

    x = np.random.default_rng(0).normal(size=(COUNT, 8, 8, 3)).astype("float32")
    _, cache = compare(build, lambda: (x, data()[1]), batch_size=BATCH)
    assert cache.report.cut == "block_1"


def test_keras_applications():
    def build():
        keras.utils.set_random_seed(1)
        model = keras.applications.MobileNetV2(
            weights=None, input_shape=(32, 32, 3), classes=3, classifier_activation=None, alpha=0.35
        )
        kerasft.freeze(model, "block_16")
        return compiled(model, optimizer=keras.optimizers.SGD(0.02))  # Adam makes steps of rounding errors

    x = np.random.default_rng(0).normal(size=(16, 32, 32, 3)).astype("float32")
    _, cache = compare(build, lambda: (x, data()[1][:16]), epochs=3, batch_size=8, tolerance=1e-4)
    assert cache.report.cut == "block_15_add"
