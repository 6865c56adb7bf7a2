"""Every kind of data source: training from the record is equal to training without it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cached_fits import (
    BATCH,
    COUNT,
    arrays,
    augmented,
    compare,
    compiled,
    data,
    dataset,
    image_model,
    named_model,
    off,
)

from kerasft import PrefixCache


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


def test_recorded_views_of_an_augmented_source():
    cache = PrefixCache(augmented_views=3)
    image_model().fit(augmented(), epochs=8, verbose=0, shuffle=False, callbacks=[cache])
    assert cache.reason is None
    assert cache.report.replayed == [False] * 3 + [True] * 5
    assert cache.report.samples == 3 * COUNT
