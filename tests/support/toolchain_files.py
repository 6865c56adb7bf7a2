"""Exported files for the toolchains of small devices, small and trained for a moment."""

import keras
from small_models import classifier, fitted, images

from kerasft import export

LABELS = ["dark", "grey", "bright"]


def exported(folder, precision="int8", io="int8", model=None, name=None, **options):
    """The report on a small classifier's file."""
    return export.to_tflite(
        fitted(classifier()) if model is None else model,
        folder / f"{name or f'{precision}_{io}'}.tflite",
        **{"precision": precision, "io": io, "representative_data": images(), "labels": LABELS, **options},
    )


def odd_model():
    """A model with operations that small devices lack, beside ones that they have."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(4, 3, name="conv")(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.ops.sort(x, axis=-1)  # TOPK_V2
    x = keras.layers.GlobalAveragePooling2D()(keras.ops.sign(x) + x)  # SIGN
    return fitted(
        keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="scores")(x)), epochs=2
    )
