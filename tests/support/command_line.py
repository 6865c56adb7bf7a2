"""The command as it is typed, a tiny backbone, and digits for its jobs."""

import keras
from kerasft.export import to_saved_model
from typer.testing import CliRunner

from kerasft.commands.main import app
from kerasft.data.load import load_dataset

SIDE = 16


def kerasft_command(*words):
    """The exit status of the command, and all that it has printed."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.output


def tiny_backbone(folder, blocks=3, normalized=False, side=SIDE):
    """The handle of a backbone of a few blocks, as a SavedModel."""
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input((side, side, 3))
    for i in range(blocks):
        x = keras.layers.Conv2D(6, 3, strides=2, padding="same", name=f"block_{i}_conv")(x)
        if normalized:
            x = keras.layers.BatchNormalization(name=f"block_{i}_bn")(x)
        x = keras.layers.ReLU(6.0)(x)
    return str(to_saved_model(keras.Model(inputs, x), folder / "tiny"))


def digits(limit):
    """Small digits."""
    return load_dataset("digits", image_size=SIDE, limit=limit)
