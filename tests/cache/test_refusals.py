"""The cache is off where a record would be wrong, says why, and training is what it would be without it."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf
from cached_fits import BATCH, COUNT, augmented, compiled, data, image_model, layers, off, staged, with_layer

import kerasft
from kerasft import PrefixCache


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


def test_frozen_layers_without_work():
    inputs = keras.Input((4,), dtype="int32")
    x = keras.layers.Flatten()(keras.layers.Embedding(9, 3, trainable=False)(inputs))
    model = compiled(keras.Model(inputs, keras.layers.Dense(3)(x)))
    x = np.random.default_rng(0).integers(0, 9, (len(data()[1]), 4))
    off(model, x, data()[1], reason="saves no work: the layer 'dense", batch_size=BATCH)


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
