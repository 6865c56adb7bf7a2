"""A classifier over a backbone, and its head trained alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf
from rich.progress import Progress

from kerasft.commands.settings import TrainingSettings
from kerasft.hub import load_backbone

_DECAYS = (0.0, 1e-4, 1e-3, 1e-2)
_STEPS, _MOST, _PATIENCE = 25, 40, 3  # steps between two looks, looks, and looks without a lower loss


class Held(Protocol):
    """Data in three parts, in batches of (inputs, labels)."""

    @property
    def train(self) -> tf.data.Dataset: ...
    @property
    def validation(self) -> tf.data.Dataset: ...
    @property
    def test(self) -> tf.data.Dataset: ...


def load_for(settings: TrainingSettings) -> keras.Model:
    """The backbone of a run."""
    size = settings.image_size
    return load_backbone(
        settings.handle,
        input_shape=(size, size, 3),
        batch_norm=settings.batch_norm,
        trust=settings.trust,
    )


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


def train_head_alone(
    model: keras.Model, data: Held, display: Progress, weights: Mapping[int, float] | None = None
) -> float:
    """Return the test accuracy of the frozen backbone with a head trained to convergence, the one to beat.

    The backbone runs once over the images. The head trains on all of its features at once, brought to mean 0
    and variance 1, until the loss on the validation images has not fallen for 75 steps, and goes back to its
    best; of four strengths of weight decay the one with the lowest validation loss counts. The weights of
    classes count in training and in the validation loss, and not in the accuracy.
    """
    features = keras.Model(model.input, model.get_layer("dropout").input)
    task = display.add_task("features of the frozen backbone", total=None)

    def rows(part: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
        found, labels = [], []
        for images, label in part:
            found.append(features.predict_on_batch(images))
            labels.append(label.numpy())
            display.advance(task)
        return np.concatenate(found).reshape(sum(map(len, found)), -1), np.concatenate(labels)

    train, validation, test = (rows(part) for part in (data.train, data.validation, data.test))
    display.remove_task(task)
    mean, deviation = train[0].mean(axis=0), train[0].std(axis=0) + 1e-6
    each = None if weights is None else np.array([weights[label] for label in range(len(weights))], "float32")

    def scaled(part: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, ...]:
        return (part[0] - mean) / deviation, part[1], *(() if each is None else (each[part[1]],))

    trained, held, tested = scaled(train), scaled(validation), scaled(test)[:2]
    best_loss, accuracy = float("inf"), 0.0
    for decay in _DECAYS:
        penalty = keras.regularizers.L2(decay)
        scores = keras.layers.Dense(
            model.get_layer("scores").units, "softmax", kernel_initializer="zeros", kernel_regularizer=penalty
        )
        head = keras.Sequential([keras.Input(trained[0].shape[1:]), scores])
        likelihood = keras.metrics.SparseCategoricalCrossentropy(name="log_loss")
        head.compile(
            keras.optimizers.Adam(0.01),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
            weighted_metrics=[likelihood],
            steps_per_execution=_STEPS,
        )
        head.fit(
            tf.data.Dataset.from_tensors(trained).repeat(),
            steps_per_epoch=_STEPS,
            epochs=_MOST,
            validation_data=held,
            shuffle=False,
            verbose=0,
            callbacks=[
                keras.callbacks.EarlyStopping(
                    "val_log_loss", patience=_PATIENCE, mode="min", restore_best_weights=True
                )
            ],
        )
        loss = head.evaluate(tf.data.Dataset.from_tensors(held), verbose=0, return_dict=True)["log_loss"]
        if loss < best_loss:
            best_loss = loss
            accuracy = float(head.evaluate(*tested, verbose=0, return_dict=True)["accuracy"])
    return accuracy
