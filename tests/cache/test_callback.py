"""PrefixCache inside `fit`: equal to training without it, for every source, and off where it must be."""

import copy
import logging
import os
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasft
from kerasft import PrefixCache
from kerasft.cache import step_function

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


# --- every source


def arrays():
    return data()


def dataset(batch=BATCH, drop=False, repeat=False, weights=False):
    x, y = data()
    columns = (x, y, np.linspace(0, 2, len(x)).astype("float32")) if weights else (x, y)
    found = tf.data.Dataset.from_tensor_slices(columns).batch(batch, drop_remainder=drop)
    return (found.repeat() if repeat else found,)


class Pieces(keras.utils.PyDataset):
    """The data as a PyDataset."""

    def __len__(self):
        return -(-COUNT // BATCH)

    def __getitem__(self, i):
        x, y = data()
        return x[i * BATCH : (i + 1) * BATCH], y[i * BATCH : (i + 1) * BATCH]


def generator():
    x, y = data()
    while True:
        for i in range(0, COUNT, BATCH):
            yield x[i : i + BATCH], y[i : i + BATCH]


def test_arrays():
    _, cache = compare(image_model, arrays, batch_size=BATCH)
    assert cache.report.samples == COUNT and cache.report.cut == "body_pool"
    assert "3 of 4 epochs trained from a record of 44 samples" in str(cache.report)


def test_arrays_equal_to_the_bit():
    compare(image_model, arrays, batch_size=BATCH, tolerance=0)


@pytest.mark.parametrize("drop", [False, True])
def test_a_tf_dataset_with_and_without_a_ragged_end(drop):
    compare(image_model, lambda: dataset(drop=drop), cached=2)


def test_a_repeated_dataset():
    compare(image_model, lambda: dataset(repeat=True), cached=2, steps_per_epoch=6)


def test_a_repeated_dataset_whose_epochs_do_not_fit():
    # six batches, five an epoch: the second epoch begins with the batch that the first one left out
    _, cache = compare(image_model, lambda: dataset(repeat=True), epochs=7, cached=4, steps_per_epoch=5)
    assert cache.report.replayed == [False] * 3 + [True] * 4


def test_a_py_dataset():
    compare(image_model, lambda: (Pieces(),), cached=2)


def test_a_generator():
    compare(image_model, lambda: (generator(),), cached=2, steps_per_epoch=6)


def test_a_dataset_of_unknown_length(recwarn):
    # Keras itself counts an optimizer step too many when data of unknown length end, so the reference has
    # a known one
    x, y = data()
    signature = (tf.TensorSpec((6, 6, 2)), tf.TensorSpec((), tf.int64))
    rows = tf.data.Dataset.from_generator(lambda: zip(x, y, strict=True), output_signature=signature)
    known = rows.batch(BATCH).apply(tf.data.experimental.assert_cardinality(-(-COUNT // BATCH)))
    runs = []
    for source, callbacks in ((known, []), (rows.batch(BATCH), [PrefixCache()])):
        runs.append(image_model())
        runs[-1].fit(source, epochs=4, verbose=0, shuffle=False, callbacks=callbacks)
    for a, b in zip(runs[0].weights, runs[1].weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=a.path)
    assert callbacks[0].report.replayed == [False, False, True, True]
    assert all("ran out of data" in str(w.message) for w in recwarn)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_arrays_of_which_an_epoch_takes_a_part():
    # plain Keras goes on in the second epoch where the first one ended, and its epochs get 4 and 2 batches
    off(image_model(), *data(), reason="had not been seen before", batch_size=BATCH, steps_per_epoch=4)
    compare(image_model, arrays, batch_size=BATCH, steps_per_epoch=6)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_validation_data_of_which_a_part_is_taken(steps):
    options = {"validation_data": data(20), "validation_steps": steps, "batch_size": BATCH}
    compare(image_model, arrays, epochs=6, **options)


def test_a_batch_of_one_size():
    def build():
        keras.utils.set_random_seed(1)
        inputs = keras.Input((6, 6, 2), batch_size=BATCH)
        x = keras.layers.Conv2D(4, 3, trainable=False)(inputs)
        x = keras.layers.Lambda(lambda x: keras.ops.reshape(x, (BATCH, -1)), name="flat")(x)
        return compiled(keras.Model(inputs, keras.layers.Dense(3)(x)))

    compare(build, lambda: dataset(drop=True), cached=2)


def test_class_weights():
    weights = {0: 0.5, 1: 2.0, 2: 1.0}
    compare(image_model, arrays, batch_size=BATCH, class_weight=weights)


@pytest.mark.parametrize("kind", ["arrays", "dataset"])
def test_sample_weights(kind):
    if kind == "dataset":
        compare(image_model, lambda: dataset(weights=True), cached=2)
    else:
        weights = np.linspace(0, 2, COUNT)
        compare(image_model, arrays, batch_size=BATCH, sample_weight=weights)


@pytest.mark.parametrize("steps", [4, 6, 7])
def test_steps_per_execution(steps):
    compare(lambda: image_model(steps_per_execution=steps), arrays, batch_size=BATCH)


@pytest.mark.parametrize("window", [2, 4])
def test_gradient_accumulation(window):
    def build():
        return image_model(optimizer=keras.optimizers.Adam(0.02, gradient_accumulation_steps=window))

    compare(build, arrays, epochs=5, batch_size=BATCH)


def test_mixed_float16():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        compare(image_model, arrays, batch_size=BATCH)
    finally:
        keras.config.set_dtype_policy("float32")


def test_jit_compile():
    compare(lambda: image_model(jit_compile=True), arrays, batch_size=BATCH)


@pytest.mark.parametrize("kind", ["arrays", "dataset"])
def test_validation_data(kind):
    x, y = data(20)
    found = (x, y) if kind == "arrays" else tf.data.Dataset.from_tensor_slices((x, y)).batch(6)
    options = {"validation_data": found, "batch_size": BATCH}
    _, cache = compare(image_model, arrays, epochs=5, **options)
    assert cache.report.bytes > COUNT * 4 * 4 + 20 * 4 * 4  # both records
    compare(image_model, arrays, cache=PrefixCache(validation=False), **options)


def test_validation_split_and_frequency():
    options = {"validation_split": 0.25, "validation_freq": 2, "batch_size": BATCH}
    compare(image_model, arrays, epochs=6, **options)


def test_another_evaluation_inside_fit_sees_its_own_data():
    x, y = data(12)

    class Evaluate(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["other"] = self.model.evaluate(x, y, verbose=0)[0]
            logs["batch"] = float(np.sum(self.model.predict_on_batch(x[:2])))

    compare(image_model, arrays, batch_size=BATCH, validation_split=0.2, callbacks=lambda: [Evaluate()])


def test_training_on_a_batch_inside_fit_goes_past_the_record():
    class Extra(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            x, y = data(5)
            self.model.train_on_batch(x[::-1], y)

    compare(image_model, arrays, batch_size=BATCH, callbacks=lambda: [Extra()])


# --- every kind of model


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


# --- order


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


def named_model():
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((6, 6, 2)), *layers(), keras.layers.Dense(1)],
    )
    for layer in model.layers[:4]:
        layer.trainable = False
    model.compile("adam", "mse", metrics=[Identities()])
    return model


@pytest.mark.parametrize("kind", ["arrays", "dataset", "repeated"])
def test_a_shuffled_source_gives_each_sample_once_an_epoch_in_an_order_of_its_own(kind):
    x, names = data()[0], np.arange(COUNT, dtype="float32")

    def train(cache):
        model = named_model()
        options = {"epochs": 5, "verbose": 0, "callbacks": [cache]}
        if kind == "arrays":
            return model, model.fit(x, names, batch_size=BATCH, **options)
        rows = tf.data.Dataset.from_tensor_slices((x, names)).shuffle(COUNT, seed=3).batch(BATCH)
        if kind == "repeated":
            return model, model.fit(rows.repeat(), steps_per_epoch=6, shuffle=False, **options)
        return model, model.fit(rows, shuffle=False, **options)

    cache = PrefixCache(seed=0)
    model, history = train(cache)
    assert history.history["identities"] == [0.0] * 5
    assert cache.report.replayed == [False, *([True] if kind == "arrays" else [False]), True, True, True]
    again, _ = train(PrefixCache(seed=0))
    other, _ = train(PrefixCache(seed=1))
    for a, b in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(
        np.abs(a - b).max() > 1e-6 for a, b in zip(model.get_weights(), other.get_weights(), strict=True)
    )


def test_two_fits_in_a_row():
    cache, model = PrefixCache(), image_model()
    for epochs in (2, 3):
        model.fit(*data(), epochs=epochs, batch_size=BATCH, verbose=0, callbacks=[cache])
        assert cache.report.replayed == [False] + [True] * (epochs - 1)
    stock = model.train_function
    model.fit(*data(), batch_size=BATCH, verbose=0)
    assert model.train_function is stock and model.train_function is not cache


# --- changes of depth


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


# --- never stale


def off(model, *arguments, reason, cache=None, epochs=3, replayed=0, **options):
    """Train with the cache, and see that it was off, for the reason given, and has left the model."""
    cache = cache or PrefixCache()
    model.fit(*arguments, epochs=epochs, verbose=0, callbacks=[cache], shuffle=False, **options)
    assert reason in cache.reason
    assert cache.report.replayed.count(True) == replayed
    assert model.train_function is not None and not isinstance(model.train_function, step_function.Source)
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


def test_augmentation_in_the_pipeline_is_found():
    off(image_model(), augmented(), reason="the source augments")


def test_rare_augmentation_is_found():
    cache = off(image_model(), augmented(share=0.2), epochs=8, reason="had not been seen before")
    assert cache.report.samples == 0


def test_augmentation_that_is_not_looked_for_would_be_missed():
    cache = PrefixCache(verify=False)
    image_model().fit(augmented(), epochs=3, verbose=0, shuffle=False, callbacks=[cache])
    assert cache.reason is None and cache.report.replayed == [False, True, True]


def test_a_source_that_changes_later_is_found():
    turn = [0]

    def rows():
        x, y = data()
        turn[0] += 1
        x = x if turn[0] < 4 else x + 1
        yield from zip(x, y, strict=True)

    signature = (tf.TensorSpec((6, 6, 2)), tf.TensorSpec((), tf.int64))
    source = tf.data.Dataset.from_generator(rows, output_signature=signature).batch(BATCH)
    source = source.apply(tf.data.experimental.assert_cardinality(-(-COUNT // BATCH)))
    off(image_model(), source, epochs=6, reason="the source has changed", replayed=1)


def test_recorded_views_of_an_augmented_source():
    cache = PrefixCache(augmented_views=3)
    image_model().fit(augmented(), epochs=8, verbose=0, shuffle=False, callbacks=[cache])
    assert cache.reason is None
    assert cache.report.replayed == [False] * 3 + [True] * 5
    assert cache.report.samples == 3 * COUNT


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


@keras.saving.register_keras_serializable("tests")
class Noise(keras.layers.Layer):
    """Draws without a seed generator that Keras knows."""

    def call(self, inputs, training=False):
        return inputs + tf.random.normal(tf.shape(inputs)) if training else inputs


@keras.saving.register_keras_serializable("tests")
class Counter(keras.layers.Layer):
    """Counts its calls in a weight that is not trained."""

    def build(self, shape):
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, inputs, training=False):
        if training:
            self.count.assign_add(1.0)
        return inputs + self.count


@keras.saving.register_keras_serializable("tests")
class Penalty(keras.layers.Layer):
    """Adds a loss."""

    def call(self, inputs):
        self.add_loss(keras.ops.mean(inputs**2))
        return inputs


@keras.saving.register_keras_serializable("tests")
class Centred(keras.layers.Layer):
    """Mixes the samples of a batch."""

    def call(self, inputs):
        return inputs - 5 * keras.ops.mean(inputs, axis=0, keepdims=True)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (lambda: keras.layers.RandomFlip(), "draws random numbers"),
        (lambda: keras.layers.GaussianNoise(0.1), "draws random numbers"),
        (lambda: keras.layers.Dropout(0.1), "draws random numbers"),
        (lambda: keras.layers.BatchNormalization(name="norm"), "'norm' trains"),
        (lambda: keras.layers.BatchNormalization(scale=False, center=False), "normalizes by the batch"),
        (lambda: keras.layers.ActivityRegularization(l2=0.1), "has an activity regularizer"),
        (lambda: Noise(name="noise"), "'noise' draws random numbers"),
        (lambda: Counter(name="counter"), "'counter' draws random numbers, writes variables"),
        (lambda: Penalty(name="penalty"), "'penalty' draws random numbers, writes variables or adds a loss"),
        (lambda: Centred(), "depends on the others in its batch"),
    ],
)  # fmt: skip
def test_layers_that_can_not_be_recorded(layer, reason):
    off(with_layer(layer()), *data(), reason=reason, batch_size=BATCH)


def test_training_with_the_cache_off_is_training_without_it():
    for source in (augmented, lambda: augmented(share=0.2)):
        runs = []
        for callbacks in ([], [PrefixCache()]):
            model = image_model()
            tf.random.set_seed(4)
            history = model.fit(source(), epochs=3, verbose=0, shuffle=False, callbacks=callbacks)
            runs.append((model, history.history["loss"]))
        assert runs[0][1] == pytest.approx(runs[1][1], abs=1e-5)


class OwnStep(keras.Model):
    """Its own training step."""

    def train_step(self, data):
        return super().train_step(data)


class OwnLoss(keras.Model):
    """A loss that looks at the input."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return super().compute_loss(x, y, y_pred, sample_weight, training) + keras.ops.mean(x)


class OwnCall(keras.Model):
    """Subclassed."""

    def __init__(self):
        super().__init__()
        self.inner = [*layers(), keras.layers.Dense(3)]
        for layer in self.inner[:2]:
            layer.trainable = False

    def call(self, x):
        for layer in self.inner:
            x = layer(x)
        return x


@pytest.mark.parametrize(
    ("kind", "reason"), [(OwnStep, "its own train_step"), (OwnLoss, "its own compute_loss")]
)
def test_models_with_methods_of_their_own(kind, reason):
    model = image_model()
    off(compiled(kind(model.inputs, model.outputs)), *data(), reason=reason, batch_size=BATCH)


@keras.saving.register_keras_serializable("tests")
class OnlyInAModel(keras.layers.Layer):
    """Can't be called by kerasft."""

    def call(self, inputs, training=False):
        import sys

        names = {sys._getframe(i).f_globals["__name__"] for i in range(12)}
        if training and "kerasft.cache.cuts.prefix" in names:
            raise RuntimeError("not here")
        return inputs


def test_layers_that_can_not_be_traced():
    off(with_layer(OnlyInAModel()), *data(), reason="can't be traced by themselves. RuntimeError: Exception")


def test_other_reasons():
    off(compiled(OwnCall()), *data(), reason="subclassed", batch_size=BATCH)
    off(image_model(run_eagerly=True), *data(), reason="runs eagerly", batch_size=BATCH, epochs=2)
    off(image_model(frozen=False), *data(), reason="Nothing frozen comes first", batch_size=BATCH)


def test_that_it_is_off_is_said_once_unless_it_was_to_be_expected(caplog):
    def said():
        found = [r.message for r in caplog.records if r.levelno >= logging.WARNING]
        caplog.clear()
        return [message for message in found if "PrefixCache is off" in message]

    off(with_layer(keras.layers.RandomFlip()), *data(), reason="random", batch_size=BATCH, epochs=4)
    assert len(said()) == 1
    off(image_model(), augmented(), reason="the source augments")
    assert len(said()) == 1
    off(
        with_layer(Noise(name="noise")), *data(), reason="'noise' draws", batch_size=BATCH
    )  # tracing shows it
    assert len(said()) == 1
    off(compiled(OwnCall()), *data(), reason="subclassed", batch_size=BATCH, epochs=2)
    assert len(said()) == 1
    schedule = [kerasft.Phase("head", 2), kerasft.Phase(0, 2)]
    options = {"batch_size": BATCH, "verbose": 0}
    callbacks = [kerasft.GradualUnfreezing(schedule), PrefixCache()]
    staged().fit(*data(), epochs=4, callbacks=callbacks, **options)
    assert said() == [] and "Nothing frozen comes first" in callbacks[1].reason


def test_a_distribution_strategy():
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        model = image_model()
    off(model, *data(), reason="distribution strategy", batch_size=BATCH, epochs=2)


def test_no_single_tensor():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.Reshape((36, 2))(inputs)
    x, h, c = keras.layers.LSTM(4, return_sequences=True, return_state=True, trainable=False)(x)
    x = keras.layers.LSTM(4)(x, initial_state=[h, c])
    model = compiled(keras.Model(inputs, keras.layers.Dense(3)(x)))
    off(model, *data(), reason="No single tensor", batch_size=BATCH)


def test_sparse_data():
    inputs = keras.Input((4,), sparse=True)
    model = compiled(
        keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Dense(2, trainable=False)(inputs)))
    )
    x = tf.sparse.from_dense(np.eye(4, dtype="float32"))
    source = tf.data.Dataset.from_tensor_slices((x, np.zeros(4, "int64"))).batch(2)
    off(model, source, reason="SparseTensorSpec; dense tensors alone")


def test_batches_that_change_their_structure():
    def rows():
        x = np.ones((4, 5), "float32")
        for i in range(4):
            yield x[:, : 3 + i % 2], np.zeros(4, "int64")

    signature = (tf.TensorSpec((None, None)), tf.TensorSpec((None,), tf.int64))
    inputs = keras.Input((None,))
    x = keras.layers.Reshape((-1, 1))(inputs)
    x = keras.layers.Dense(2, trainable=False)(x)
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Dense(2)(x))
    model = compiled(keras.Model(inputs, keras.layers.Dense(3)(x)))
    source = tf.data.Dataset.from_generator(rows, output_signature=signature).repeat()
    off(model, source, steps_per_epoch=4, reason="change from batch to batch")


# --- storage


def test_the_record_on_disk(tmp_path):
    cache = PrefixCache(tmp_path / "there")
    compare(image_model, arrays, cache=cache, batch_size=BATCH)
    assert cache.report.on_disk and list((tmp_path / "there").iterdir()) == []


def test_more_than_the_cap_goes_to_temporary_files():
    cache = PrefixCache(max_bytes=300)
    compare(image_model, arrays, cache=cache, batch_size=BATCH)
    assert cache.report.on_disk and cache.report.peak_bytes <= 300 < cache.report.bytes


def test_more_than_the_cap_without_a_disk(tmp_path):
    for storage in ("memory", tmp_path):
        cache = PrefixCache(storage, max_bytes=500)
        cache = off(image_model(), *data(), cache=cache, reason="exceeds max_bytes=500", batch_size=BATCH)
    assert list(tmp_path.iterdir()) == []


def test_a_coming_cut_for_which_there_is_no_room_is_left_out(caplog):
    schedule = kerasft.UnfreezingSchedule.from_depths(["head", "block_2"], every=3)
    # 44 samples: 3 floats at the head, 6·6·3 floats before block_2, a label of 8 bytes
    for cap, replayed in (
        (44 * (12 + 432 + 8), [False] + [True] * 5),
        (3000, [False, True, True] + [False] * 3),
    ):
        cache = PrefixCache("memory", max_bytes=cap)
        model = staged()
        callbacks = [kerasft.GradualUnfreezing(schedule), cache]
        with caplog.at_level(logging.INFO):
            model.fit(*data(), epochs=6, batch_size=BATCH, verbose=0, callbacks=callbacks)
        assert cache.report.replayed == replayed
    assert "exceeds max_bytes=3000" in cache.reason.replace(",", "")
    assert "Nothing is recorded for the coming cut at block_1_bn" in caplog.text


def test_a_cap_smaller_than_a_batch():
    off(
        image_model(),
        *data(),
        cache=PrefixCache("memory", max_bytes=10),
        reason="max_bytes=10",
        batch_size=BATCH,
    )


def test_float16():
    cache = PrefixCache(dtype="float16")
    compare(image_model, arrays, cache=cache, batch_size=BATCH, tolerance=2e-2)
    exact = PrefixCache()
    image_model().fit(*data(), epochs=2, batch_size=BATCH, verbose=0, callbacks=[exact])
    assert (
        cache.report.bytes - COUNT * 8 == (exact.report.bytes - COUNT * 8) / 2
    )  # labels are int64, as given


def test_float16_that_can_not_hold_the_values():
    x, y = data()
    cache = PrefixCache(dtype="float16")
    off(image_model(), x * 1e7, y, cache=cache, reason='"float16" can\'t hold', batch_size=BATCH)


def test_a_full_disk_does_not_stop_training(tmp_path, monkeypatch):
    from kerasft.cache.records.table import Column

    append, calls = Column.append, []

    def full(self, block):
        calls.append(1)
        if len(calls) > 5:
            raise OSError(28, "No space left on device")
        append(self, block)

    def train(callbacks):
        model = image_model()
        model.fit(*data(), epochs=3, batch_size=BATCH, shuffle=False, verbose=0, callbacks=callbacks)
        return model

    plain = train([])
    monkeypatch.setattr(Column, "append", full)
    cache = PrefixCache(tmp_path)
    for a, b in zip(plain.weights, train([cache]).weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=a.path)
    assert "No space left" in cache.reason and list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 200 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if os.name != "posix" or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_is_really_full(small_disk):
    models, (x, y) = [], data(1000)
    for callbacks in ([], [cache := PrefixCache(small_disk, max_bytes=10**9)]):
        models.append(half_frozen())
        models[-1].fit(x, y, epochs=2, batch_size=100, shuffle=False, verbose=0, callbacks=callbacks)
    for a, b in zip(models[0].weights, models[1].weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=a.path)
    assert "No space left" in cache.reason and list(small_disk.iterdir()) == []


def test_a_kept_record_skips_the_recording_epoch(tmp_path, monkeypatch):
    from kerasft.cache import step_function as source

    traced = []
    trace = source.trace_prefix
    monkeypatch.setattr(source, "trace_prefix", lambda *given: traced.append(1) or trace(*given))
    options = {"epochs": 4, "batch_size": BATCH, "shuffle": False, "verbose": 0, "validation_data": data(10)}
    models = []
    for _ in range(2):
        models.append(image_model())
        cache = PrefixCache(tmp_path, keep=True)
        models[-1].fit(*data(), callbacks=[cache], **options)
        assert cache.report.kept == (len(models) == 2)
    assert len(traced) == 2  # training and validation, of the first run
    for a, b in zip(models[0].weights, models[1].weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=a.path)
    other = image_model()
    other.get_layer("backbone").get_layer("body_conv").kernel.assign_add(
        keras.ops.ones_like(other.get_layer("backbone").get_layer("body_conv").kernel)
    )
    other.fit(*data(), callbacks=[PrefixCache(tmp_path, keep=True)], **options)
    assert len(traced) == 4  # other weights
    x, y = data()
    image_model().fit(x + 1, y, callbacks=[PrefixCache(tmp_path, keep=True)], **options)
    assert len(traced) == 5  # other training data


def deep_model(depth):
    """Three convolutions, of which the first `depth` are frozen, with the same weights each time."""
    keras.utils.set_random_seed(1)
    convolutions = [
        keras.layers.Conv2D(4, 3, padding="same", activation="relu", name=f"conv_{i}") for i in range(3)
    ]
    last = [keras.layers.Flatten(name="flatten"), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((6, 6, 2)), *convolutions, *last])
    for layer in convolutions[:depth]:
        layer.trainable = False
    return compiled(model)


def test_a_kept_record_serves_runs_with_more_layers_frozen(tmp_path, monkeypatch):
    traced, bridged = [], []
    trace, bridge = step_function.trace_prefix, step_function.record_at_later_cut
    monkeypatch.setattr(step_function, "trace_prefix", lambda *given: traced.append(1) or trace(*given))
    monkeypatch.setattr(
        step_function, "record_at_later_cut", lambda *given: bridged.append(1) or bridge(*given)
    )
    options = {"epochs": 3, "batch_size": BATCH, "shuffle": False, "verbose": 0, "validation_data": data(10)}
    deep_model(1).fit(*data(), callbacks=[PrefixCache(tmp_path, keep=True)], **options)
    assert (len(traced), len(bridged)) == (2, 0)  # training and validation
    plain = deep_model(3)
    plain.fit(*data(), **options)
    for _ in range(2):  # the second one finds what the first one made of it
        model, cache = deep_model(3), PrefixCache(tmp_path, keep=True)
        model.fit(*data(), callbacks=[cache], **options)
        assert cache.report.kept and cache.report.cut == "flatten"
        assert (len(traced), len(bridged)) == (2, 2)
        for a, b in zip(plain.weights, model.weights, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5, err_msg=a.path)
    other = deep_model(3)
    other.layers[0].kernel.assign_add(keras.ops.ones_like(other.layers[0].kernel))
    other.fit(*data(), callbacks=[PrefixCache(tmp_path, keep=True)], **options)
    assert (len(traced), len(bridged)) == (4, 2)  # the records are not of these weights


def test_a_kept_record_serves_depths_that_a_schedule_comes_through(tmp_path, monkeypatch):
    options = {"epochs": 4, "batch_size": BATCH, "shuffle": False, "verbose": 0}
    deep_model(1).fit(*data(), callbacks=[PrefixCache(tmp_path, keep=True)], **options)
    monkeypatch.setattr(step_function, "trace_prefix", lambda *given: pytest.fail("the prefix ran"))

    def train(*callbacks):
        model = deep_model(0)
        unfreezing = kerasft.GradualUnfreezing(kerasft.UnfreezingSchedule.from_depths([3, 2, 1]))
        model.fit(*data(), callbacks=[unfreezing, *callbacks], **options)
        return model

    cache = PrefixCache(tmp_path, keep=True)
    model, plain = train(cache), train()
    assert cache.report.kept and len(list(tmp_path.glob("*-train"))) == 3
    for a, b in zip(plain.weights, model.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=a.path)


def test_a_kept_record_that_was_altered_is_not_used(tmp_path):
    options = {"epochs": 3, "batch_size": BATCH, "shuffle": False, "verbose": 0}
    plain = image_model()
    plain.fit(*data(), **options)
    image_model().fit(*data(), callbacks=[PrefixCache(tmp_path, keep=True)], **options)
    (file,) = tmp_path.glob("*/*/values/0.bin")
    content = bytearray(file.read_bytes())
    content[10] ^= 255
    file.write_bytes(content)
    model = image_model()
    model.fit(*data(), callbacks=[PrefixCache(tmp_path, keep=True)], **options)
    for a, b in zip(plain.weights, model.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=a.path)


@keras.saving.register_keras_serializable("tests")
class Silent(keras.layers.Layer):
    """Its settings do not say by how much it scales; the one without arguments has none to say."""

    def __init__(self, factor, **options):
        super().__init__(**options)
        self.hidden = factor

    def call(self, inputs):
        return inputs * self.hidden


class Quiet(Silent):
    """Says nothing of itself by purpose."""

    def get_config(self):
        return {}


@pytest.mark.parametrize("kind", [Silent, Quiet])
def test_a_kept_record_of_layers_that_do_something_else_is_not_used(tmp_path, kind, caplog):
    options = {"epochs": 3, "batch_size": BATCH, "shuffle": False, "verbose": 0}
    with_layer(kind(2.0)).fit(*data(), callbacks=[PrefixCache(tmp_path, keep=True)], **options)
    plain, model = with_layer(kind(3.0)), with_layer(kind(3.0))
    plain.fit(*data(), **options)
    with caplog.at_level(logging.WARNING):
        model.fit(*data(), callbacks=[PrefixCache(tmp_path, keep=True)], **options)
    assert ("is of other layers; it is not used" in caplog.text) == (kind is Quiet)
    for a, b in zip(plain.weights, model.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=a.path)


def test_a_kept_record_of_a_part_of_the_data(tmp_path):
    x, y = data()
    options = {"epochs": 3, "batch_size": BATCH, "shuffle": False, "verbose": 0}
    image_model().fit(x[:24], y[:24], callbacks=[PrefixCache(tmp_path, keep=True)], **options)
    plain, model, cache = image_model(), image_model(), PrefixCache(tmp_path, keep=True)
    plain.fit(x, y, **options)
    model.fit(x, y, callbacks=[cache], **options)
    for a, b in zip(plain.weights, model.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=a.path)
    assert cache.report.replayed == [False, False, True] and cache.report.samples == COUNT


# --- callbacks


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


# --- arguments


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"storage": 3}, TypeError, 'storage is "auto", "memory" or a folder, not 3'),
        ({"storage": ""}, TypeError, "not ''"),
        ({"storage": "mem"}, ValueError, "is 'mem' \"memory\""),
        ({"max_bytes": 0}, ValueError, "above 0"),
        ({"max_bytes": 1.5}, TypeError, "number of bytes"),
        ({"dtype": "int8"}, ValueError, "labels and weights of samples are kept as they are"),
        ({"keep": True}, ValueError, "keep=True needs a folder"),
        ({"augmented_views": 0}, ValueError, "at least 1"),
    ],
)
def test_wrong_arguments(given, error, message):
    with pytest.raises(error, match=message):
        PrefixCache(**given)


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_a_folder_that_can_not_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="can't write into the folder"):
        PrefixCache(tmp_path / "file" / "below")


def test_a_copy_is_a_cache_of_its_own():
    """As keras-tuner makes one for each trial."""
    cache = PrefixCache(max_bytes=10**6)
    other = copy.deepcopy(cache)
    image_model().fit(*data(), epochs=2, batch_size=BATCH, verbose=0, callbacks=[other])
    assert other.report.replayed == [False, True] and cache.report.replayed == []


def test_a_folder_with_a_name_like_a_kind_of_storage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("./auto", "./memo", Path("memo")):
        assert PrefixCache(name).folder.is_dir()
    assert PrefixCache("memo").folder.is_dir()  # it is there by now


def test_two_caches():
    with pytest.raises(ValueError, match="two PrefixCache"):
        image_model().fit(*data(), verbose=0, callbacks=[PrefixCache(), PrefixCache()])
