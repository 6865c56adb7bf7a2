"""A classifier of images over a backbone."""

from __future__ import annotations

import keras

from kerasft.commands.settings import TrainingSettings
from kerasft.hub import load_backbone


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
