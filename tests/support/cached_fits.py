"""Small models, data and comparisons for tests of fits with a PrefixCache."""

import keras
import numpy as np
import tensorflow as tf

import kerasft
from kerasft import PrefixCache
from kerasft.cache.step_function import CachedStepFunction

COUNT = 44


BATCH = 8  # the last batch has four


def data(count=COUNT):
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, 6, 6, 2)).astype("float32"), rng.integers(0, 3, count)


def layers(name="body"):
    return [
        keras.layers.Conv2D(4, 3, name=f"{name}_conv"),
        keras.layers.BatchNormalization(name=f"{name}_bn"),
        keras.layers.ReLU(),
        keras.layers.GlobalAveragePooling2D(name=f"{name}_pool"),
    ]


def image_model(frozen=True, **compile_options):
    """A frozen convolution with normalization; a head with dropout."""
    keras.utils.set_random_seed(1)
    inputs = x = keras.Input((6, 6, 2), name="image")
    for layer in layers():
        x = layer(x)
    backbone = keras.Model(inputs, x, name="backbone")
    backbone.trainable = not frozen
    inputs = keras.Input((6, 6, 2), name="image")
    x = keras.layers.Dropout(0.3, seed=5)(backbone(inputs))
    x = keras.layers.Dense(5, "relu", kernel_regularizer="l2")(x)
    model = keras.Model(inputs, keras.layers.Dense(3, dtype="float32")(x))
    return compiled(model, **compile_options)


def compiled(model, **options):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    options = {"optimizer": keras.optimizers.Adam(0.02), "loss": loss, "metrics": ["accuracy"], **options}
    model.compile(**options)
    return model


def compare(
    build, source, epochs=4, cached=True, tolerance=1e-5, cache=None, callbacks=lambda: [], **options
):
    """Train with and without the cache, each on data of its own, and compare all that it gives."""
    runs = []
    for used in (None, cache or PrefixCache(seed=0)):
        model = build()
        arguments = source()
        before = [w.copy() for w in model.get_weights()]
        given = [*callbacks(), *([] if used is None else [used])]
        history = model.fit(*arguments, epochs=epochs, verbose=0, callbacks=given, shuffle=False, **options)
        assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(before, model.get_weights(), strict=True))
        runs.append((model, history.history))
    (plain, wanted), (model, found) = runs
    assert wanted.keys() == found.keys()
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, atol=tolerance, err_msg=name)
    for a, b in zip(plain.weights, model.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance, err_msg=a.path)
    for a, b in zip(plain.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance, err_msg=a.path)
    assert used.reason is None, used.reason
    if cached:
        assert used.report.replayed[-1] and not used.report.replayed[0]
        assert used.report.replayed.count(True) == (epochs - 1 if cached is True else cached)
    return model, used


def arrays():
    return data()


def dataset(batch=BATCH, drop=False, repeat=False, weights=False):
    x, y = data()
    columns = (x, y, np.linspace(0, 2, len(x)).astype("float32")) if weights else (x, y)
    found = tf.data.Dataset.from_tensor_slices(columns).batch(batch, drop_remainder=drop)
    return (found.repeat() if repeat else found,)


def half_frozen():
    """The cut is inside a nested model, between its blocks."""
    keras.utils.set_random_seed(1)
    inputs = x = keras.Input((6, 6, 2))
    for name in ("a", "b"):
        y = keras.layers.Conv2D(2, 3, padding="same", name=f"{name}_conv")(x)
        x = keras.layers.Add(name=f"{name}_add")([x, keras.layers.BatchNormalization(name=f"{name}_bn")(y)])
    backbone = keras.Model(inputs, x)
    for layer in backbone.layers:
        layer.trainable = not layer.name.startswith("a_")
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.Flatten()(backbone(inputs))
    return compiled(keras.Model(inputs, keras.layers.Dense(3)(x)))


def staged(frozen="head"):
    keras.utils.set_random_seed(1)
    inputs = x = keras.Input((6, 6, 2))
    for i in range(3):
        x = keras.layers.Conv2D(3, 3, padding="same", name=f"block_{i}_conv")(x)
        x = keras.layers.BatchNormalization(name=f"block_{i}_bn")(x)
    backbone = keras.Model(inputs, x, name="backbone")
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.GlobalAveragePooling2D()(backbone(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    kerasft.freeze(model, frozen)
    return compiled(model)


def off(model, *arguments, reason, cache=None, epochs=3, replayed=0, **options):
    """Train with the cache, and see that it was off, for the reason given, and has left the model."""
    cache = cache or PrefixCache()
    model.fit(*arguments, epochs=epochs, verbose=0, callbacks=[cache], shuffle=False, **options)
    assert reason in cache.reason
    assert cache.report.replayed.count(True) == replayed
    assert model.train_function is not None and not isinstance(model.train_function, CachedStepFunction)
    return cache


def augmented(scale=0.1, share=1.0):
    x, y = data()
    rng = np.random.default_rng(
        4
    )  # TensorFlow's random operations begin anew in each epoch when a seed is set

    def change(x):
        return x + (rng.random() < share) * rng.normal(0, scale, x.shape).astype("float32")

    def rows():
        yield from zip(map(change, x), y, strict=True)

    signature = (tf.TensorSpec((6, 6, 2)), tf.TensorSpec((), tf.int64))
    found = tf.data.Dataset.from_generator(rows, output_signature=signature).batch(BATCH)
    return found.apply(tf.data.experimental.assert_cardinality(-(-COUNT // BATCH)))


def with_layer(layer):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layer,
            keras.layers.Conv2D(3, 3, trainable=False, name="frozen"),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )
    return compiled(model)


class Identities(keras.metrics.Metric):
    """Collects which samples have passed by, from targets that name them."""

    def __init__(self):
        super().__init__(name="identities")
        self.counts = self.add_weight(shape=(COUNT,), initializer="zeros", name="counts")

    def update_state(self, y_true, y_pred, sample_weight=None):
        rows = tf.cast(tf.reshape(y_true, (-1,)), tf.int32)
        self.counts.assign_add(tf.math.bincount(rows, minlength=COUNT, maxlength=COUNT, dtype=tf.float32))

    def result(self):
        return tf.reduce_sum(tf.abs(self.counts - 1.0))  # 0 if each came once


class SecondHalf(Identities):
    """How many of the second half of the samples have passed by."""

    def __init__(self):
        super().__init__()
        self.name = "second_half"

    def result(self):
        return tf.reduce_sum(self.counts[COUNT // 2 :])


def named_model():
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((6, 6, 2)), *layers(), keras.layers.Dense(1)],
    )
    for layer in model.layers[:4]:
        layer.trainable = False
    model.compile("adam", "mse", metrics=[Identities(), SecondHalf()])
    return model
