"""Networks that no single tensor cuts everywhere, as Keras models with random weights."""

import keras
import numpy as np

layers = keras.layers


def unit(x, width, name, strides=1):
    x = layers.Conv2D(width, 3, strides, padding="same", name=f"{name}_conv")(x)
    return layers.ReLU()(layers.BatchNormalization(name=f"{name}_bn")(x))


def block(x, width, name):
    return unit(unit(x, width, f"{name}_a"), width, f"{name}_b")


def unet():
    inputs = keras.Input((8, 8, 3), name="image")
    first = block(inputs, 4, "enc1")
    second = block(layers.MaxPooling2D()(first), 6, "enc2")
    x = block(layers.MaxPooling2D()(second), 8, "mid")
    x = block(layers.Concatenate()([layers.UpSampling2D()(x), second]), 6, "dec2")
    x = block(layers.Concatenate()([layers.UpSampling2D()(x), first]), 4, "dec1")
    return keras.Model(inputs, layers.Conv2D(2, 1, name="logits")(x))


def siamese():
    """A tower without statistics, used twice."""
    x = inputs = keras.Input((8, 8, 3))
    for i in range(1, 5):
        x = layers.Conv2D(4, 3, padding="same", activation="relu", name=f"block_{i}_conv")(x)
    tower = keras.Model(inputs, layers.GlobalAveragePooling2D()(x))
    left, right = (keras.Input((8, 8, 3), name=name) for name in ("left", "right"))
    score = layers.Dense(1, name="score")(layers.Subtract()([tower(left), tower(right)]))
    return keras.Model([left, right], score)


def image_and_table():
    x = image = keras.Input((8, 8, 3), name="image")
    for i in range(1, 5):
        x = unit(x, 4, f"block_{i}")
    table = keras.Input((5,), name="table")
    y = layers.Dense(4, activation="relu", name="table_dense")(table)
    both = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), y])
    return keras.Model([image, table], layers.Dense(1, name="score")(both))


def pyramid():
    """A feature pyramid with a detection head of two outputs for each level."""
    inputs = keras.Input((32, 32, 3), name="image")
    c2 = unit(unit(inputs, 4, "block_1", 2), 4, "block_2")
    c3 = unit(c2, 6, "block_3", 2)
    x, outputs = None, {}
    for level, features in ((4, unit(c3, 8, "block_4", 2)), (3, c3), (2, c2)):
        y = layers.Conv2D(4, 1, name=f"lateral{level}")(features)
        x = y if x is None else layers.Add()([layers.UpSampling2D()(x), y])
        y = layers.Conv2D(4, 3, padding="same", name=f"p{level}_smooth")(x)
        outputs[f"p{level}_box"] = layers.Conv2D(4, 3, padding="same", name=f"p{level}_box")(y)
        outputs[f"p{level}_class"] = layers.Conv2D(2, 3, padding="same", name=f"p{level}_class")(y)
    return keras.Model(inputs, outputs)


def pitch():
    """Three outputs of which one feeds the others, as basic-pitch has them."""
    inputs = keras.Input((8, 8, 1), name="audio")
    x = unit(unit(inputs, 4, "conv2d"), 4, "conv2d_1")
    contour = layers.Conv2D(1, 3, padding="same", activation="sigmoid", name="contours")(x)
    x = unit(contour, 4, "conv2d_2")
    note = layers.Conv2D(1, 3, padding="same", activation="sigmoid", name="notes")(x)
    x = layers.Concatenate()([unit(layers.Concatenate()([inputs, contour]), 4, "conv2d_3"), note])
    onset = layers.Conv2D(1, 3, padding="same", activation="sigmoid", name="onsets")(x)
    return keras.Model(inputs, {"contour": contour, "note": note, "onset": onset})


def with_random_weights(model):
    rng = np.random.default_rng(0)
    for w in model.weights:  # no two alike
        w.assign(rng.uniform(0.5, 1.5, w.shape) if "variance" in w.name else rng.normal(0, 0.3, w.shape))
    return model
