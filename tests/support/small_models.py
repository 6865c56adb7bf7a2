"""Small models that were trained for a moment, for tests of the export."""

import keras
import numpy as np

CLASSES = 3


def images(count=160, seed=0):
    """Images of 8×8 from 0 to 255 in three classes, dark to bright, and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    pixels = rng.uniform(0, 95, (count, 8, 8, 3)) + 80 * labels[:, None, None, None]
    return pixels.astype("float32"), labels.astype("int32")


def fitted(model, data=None, epochs=15):
    """The model, trained on the images."""
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*(data or images()), epochs=epochs, verbose=0)
    return model


def classifier(activation="relu6", **options):
    """A convolutional classifier of such images, rescaling inside."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = keras.layers.Conv2D(8, 3, name="conv", **options)(x)
    x = keras.layers.Activation(activation)(keras.layers.BatchNormalization()(x))
    x = keras.layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = keras.layers.Dropout(0.3)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, keras.layers.Dense(CLASSES, activation="softmax", name="scores")(x))
