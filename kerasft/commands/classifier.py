"""A classifier over a backbone, and its head trained alone."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from rich.progress import Progress

from kerasft.commands.settings import TrainingSettings
from kerasft.data import ImageData
from kerasft.hub import load_backbone


def load_classifier(settings: TrainingSettings, classes: int) -> keras.Model:
    """A classifier over the backbone of a run, not compiled."""
    size = settings.image_size
    backbone = load_backbone(
        settings.handle,
        input_shape=(size, size, 3),
        batch_norm=settings.batch_norm,
        trust=settings.trust,
    )
    return build_classifier(backbone, classes, size, settings.input_range)


def build_classifier(
    backbone: keras.Model, classes: int, size: int, input_range: tuple[float, float]
) -> keras.Model:
    """A classifier of images with pixels from 0 to 255 over a backbone, preprocessing in its graph."""
    low, high = input_range
    x = inputs = keras.Input((size, size, 3), name="image")
    if (low, high) != (0.0, 255.0):
        x = keras.layers.Rescaling((high - low) / 255, low, name="rescaling")(x)
    x = backbone(x)
    if isinstance(x, dict):
        raise ValueError(f"The backbone returns several tensors, {sorted(x)}; a classifier needs one.")
    if len(x.shape) == 4:
        x = keras.layers.GlobalAveragePooling2D(name="pooling")(x)
    x = keras.layers.Dropout(0.2, name="dropout")(x)
    outputs = keras.layers.Dense(classes, activation="softmax", dtype="float32", name="scores")(x)
    return keras.Model(inputs, outputs, name="classifier")


def train_head_alone(model: keras.Model, data: ImageData, epochs: int, display: Progress) -> float:
    """Return the test accuracy of the frozen backbone with a head trained as long, the one to beat.

    The backbone runs once over the images; the head then trains on its features.
    """
    features = keras.Model(model.input, model.get_layer("dropout").input)
    task = display.add_task("features of the frozen backbone", total=None)

    def rows(part: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
        found, labels = [], []
        for images, label in part:
            found.append(features.predict_on_batch(images))
            labels.append(label.numpy())
            display.advance(task)
        return np.concatenate(found), np.concatenate(labels)

    train, test = rows(data.train), rows(data.test)
    display.remove_task(task)
    scores = model.get_layer("scores")
    head = keras.Sequential(
        [
            keras.Input(train[0].shape[1:]),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(scores.units, activation="softmax"),
        ]
    )
    head.compile(keras.optimizers.AdamW(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    head.fit(*train, batch_size=32, epochs=epochs, verbose=0)
    return float(head.evaluate(*test, verbose=0, return_dict=True)["accuracy"])
