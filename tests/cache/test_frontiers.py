"""Fits from a record of several values: equal to plain Keras where no single tensor divides the model."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasft

layers = keras.layers
SAMPLES = 12


def u_net():
    inputs = x = keras.Input((8, 8, 2))
    x = first = layers.Conv2D(3, 3, padding="same", name="enc1", activation="relu")(x)
    x = layers.MaxPooling2D()(x)
    x = second = layers.Conv2D(4, 3, padding="same", name="enc2", activation="relu")(x)
    x = layers.Conv2D(4, 3, padding="same", name="middle")(layers.MaxPooling2D()(x))
    x = layers.Conv2D(4, 3, padding="same", name="center")(x)
    x = layers.Concatenate()([layers.UpSampling2D()(x), second])
    x = layers.Concatenate()(
        [layers.UpSampling2D()(layers.Conv2D(3, 3, padding="same", name="dec2")(x)), first]
    )
    return keras.Model(inputs, layers.Flatten()(layers.Conv2D(1, 3, padding="same", name="dec1")(x)))


def siamese():
    a, b = keras.Input((5,)), keras.Input((5,))
    one, two = layers.Dense(4, activation="tanh", name="one"), layers.Dense(4, name="two")
    x = layers.Concatenate()([two(one(a)), two(one(b))])
    return keras.Model([a, b], layers.Dense(2, name="top")(layers.Dense(3, name="joint")(x)))


def image_and_table():
    image, table = keras.Input((8, 8, 2), name="image"), keras.Input((3,), name="table")
    x = image
    for i in range(3):
        x = layers.Conv2D(3, 3, name=f"conv_{i}", activation="relu")(x)
    x = layers.Concatenate()([layers.Flatten()(x), layers.Dense(4, name="columns")(table)])
    return keras.Model({"image": image, "table": table}, layers.Dense(2, name="top")(x))


def encoder_and_decoder():
    """With masks: the tokens that are 0 count for nothing."""
    a, b = keras.Input((6,), dtype="int32"), keras.Input((4,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True, name="source")(a)
    x = layers.MultiHeadAttention(1, 4, name="encoder")(x, x)
    y = layers.Embedding(9, 4, mask_zero=True, name="target")(b)
    for i in range(3):
        y = layers.MultiHeadAttention(1, 4, name=f"decoder_{i}")(y, x)
    return keras.Model([a, b], layers.Dense(2, name="top")(layers.LSTM(3, name="last")(y)))


class Positions(layers.Layer):
    """A number for each place: no row for each sample, though its symbolic shape is (None,)."""

    def build(self, shape):
        self.scale = self.add_weight(name="scale")

    def call(self, x):
        return self.scale * keras.ops.cast(keras.ops.arange(keras.ops.shape(x)[1]), "float32")


class Block(layers.Layer):
    def build(self, x_shape, places_shape):
        self.kernel = self.add_weight(shape=(4, 4), name="kernel")

    def call(self, x, places):
        return keras.ops.tanh(x @ self.kernel + places[:, None])


def with_positions():
    inputs = keras.Input((None, 4))
    x = layers.Dense(4, name="body")(inputs)
    places = Positions(name="positions")(x)
    for i in range(3):
        x = Block(name=f"block_{i}")(x, places)
    return keras.Model(inputs, layers.Dense(2, name="top")(layers.GlobalAveragePooling1D()(x)))


def data_of(model, length=5):
    rng = np.random.default_rng(0)
    shapes = {
        t.name: (SAMPLES, *(length if axis is None else axis for axis in t.shape[1:])) for t in model.inputs
    }
    x = {
        t.name: rng.integers(0, 5, shapes[t.name])
        if t.dtype == "int32"
        else rng.normal(size=shapes[t.name]).astype("float32")
        for t in model.inputs
    }
    x = x if isinstance(model.input, dict) else list(x.values())
    x = x[0] if isinstance(x, list) and len(x) == 1 else x
    return x, rng.normal(size=(SAMPLES, *model.output_shape[1:])).astype("float32")


def fitted(make, depth, callbacks, **options):
    keras.utils.set_random_seed(1)
    model = make()
    kerasft.freeze(model, depth)
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    x, y = data_of(model)
    before = [w.numpy() for w in model.weights]
    history = model.fit(
        x, y, batch_size=4, epochs=4, shuffle=False, verbose=0, validation_data=(x, y), callbacks=callbacks
    )
    return model, before, history.history


@pytest.mark.parametrize(
    ("make", "depth", "values", "folder"),
    [
        (u_net, "middle", "enc1 + enc2", True),
        (siamese, "joint", "concatenate", False),
        (image_and_table, "top", "concatenate", False),
        (image_and_table, "columns", "flatten", False),
        (encoder_and_decoder, "decoder_1", None, True),
        (encoder_and_decoder, "last", "decoder_2", False),
        (with_positions, "block_1", "body + block_0", False),
        (with_positions, "top", "global_average_pooling1d", False),
    ],
)
def test_a_cached_fit_ends_where_a_plain_one_ends(make, depth, values, folder, tmp_path):
    cache = kerasft.PrefixCache(tmp_path, keep=True) if folder else kerasft.PrefixCache()
    plain, before, expected = fitted(make, depth, [])
    cached, _, found = fitted(make, depth, [cache])
    assert cache.reason is None and sum(cache.report.replayed) == 3
    assert values is None or cache.report.cut.startswith(values)
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-5)
    np.testing.assert_allclose(found["val_loss"], expected["val_loss"], rtol=1e-5)
    trained = {id(v) for v in cached.trainable_variables}
    for mine, theirs, old in zip(cached.weights, plain.weights, before, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
        assert np.array_equal(mine, old) == (id(mine) not in trained), mine.path
    if folder:  # a later run uses the record, and ends there too
        again = kerasft.PrefixCache(tmp_path, keep=True)
        _, _, later = fitted(make, depth, [again])
        assert again.report.kept and again.report.traced_prefixes == 0
        np.testing.assert_allclose(later["loss"], expected["loss"], rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.*ran out of data")  # plain Keras says so, too
def test_places_of_open_length_are_not_taken_for_rows():
    """Nothing but the data says that they are none."""
    model = with_positions()
    kerasft.freeze(model, "block_1")
    model.compile("sgd", "mse")
    x, y = data_of(model)
    data = tf.data.Dataset.from_generator(
        lambda: ((x[i : i + 4], y[i : i + 4]) for i in (0, 4, 8)),
        output_signature=(tf.TensorSpec((None, None, 4)), tf.TensorSpec((None, 2))),
    )
    cache = kerasft.PrefixCache()
    model.fit(data, epochs=3, verbose=0, shuffle=False, callbacks=[cache])
    assert cache.report.replayed == [False] * 3
    assert cache.reason == "What the frozen layers give does not have a row for each sample."


def test_coming_depths_are_recorded_in_one_pass_and_made_from_kept_records(tmp_path):
    def fit(callbacks, first):
        keras.utils.set_random_seed(1)
        model = u_net()
        model.compile(keras.optimizers.Adam(1e-2), "mse")
        x, y = data_of(model)
        schedule = kerasft.UnfreezingSchedule.from_depths(first, every=2)
        unfreezing = kerasft.GradualUnfreezing(schedule)
        model.fit(
            x,
            y,
            batch_size=4,
            epochs=2 * len(first),
            shuffle=False,
            verbose=0,
            callbacks=[unfreezing, *callbacks],
        )
        return model.get_weights()

    depths = ["middle", 1]
    cache = kerasft.PrefixCache(tmp_path, keep=True)
    for mine, theirs in zip(fit([cache], depths), fit([], depths), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    assert cache.report.replayed == [False, *[True] * 3]
    later = kerasft.PrefixCache(tmp_path, keep=True)
    fit([later], ["dec1"])
    assert later.report.kept and later.report.derived_records == 1
