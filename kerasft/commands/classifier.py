"""A classifier over a backbone, and its head trained alone."""

from __future__ import annotations

import keras
import numpy as np
from rich.progress import Progress

from kerasft.data import ImageData


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
    """Test accuracy of the frozen backbone with a head trained as long: what fine-tuning has to beat.

    The backbone runs once over the images; the head then trains on its features.
    """
    features = keras.Model(model.input, model.get_layer("dropout").input)
    rows: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    task = display.add_task("features of the frozen backbone", total=None)
    for name, part in (("train", data.train), ("test", data.test)):
        pairs = []
        for images, labels in part:
            pairs.append((features.predict_on_batch(images), labels.numpy()))
            display.advance(task)
        rows[name] = tuple(np.concatenate(column) for column in zip(*pairs, strict=True))  # type: ignore
    display.remove_task(task)
    scores = model.get_layer("scores")
    head = keras.Sequential(
        [
            keras.Input(rows["train"][0].shape[1:]),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(scores.units, activation="softmax"),
        ]
    )
    head.compile(keras.optimizers.AdamW(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    head.fit(*rows["train"], batch_size=32, epochs=epochs, verbose=0)
    return float(head.evaluate(*rows["test"], verbose=0, return_dict=True)["accuracy"])
