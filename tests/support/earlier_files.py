"""The models, data and runs of which tests/data/earlier holds files that version 0.1.0 wrote."""

from pathlib import Path

import keras
import keras_tuner
import numpy as np

import kerasft

FOLDER = Path(__file__).parent.parent / "data" / "earlier"
EPOCHS = 5
PHASES = [
    kerasft.Phase("top", epochs=2, monitor="val_loss"),
    kerasft.Phase("second", epochs=1, warmup_steps=3),
    kerasft.Phase(0, learning_rate=0.005),
]


def with_weights(model: keras.Model) -> keras.Model:
    """The model with weights that every machine draws alike."""
    rng = np.random.default_rng(3)
    model.set_weights([rng.normal(0.0, 0.4, w.shape).astype("float32") ** 2 for w in model.get_weights()])
    return model


def backbone() -> keras.Model:
    """A small convolutional network with BatchNormalization."""
    inputs = x = keras.Input((8, 8, 3), name="image")
    for number in (1, 2):
        x = keras.layers.Conv2D(4, 3, padding="same", name=f"block_{number}_conv")(x)
        x = keras.layers.BatchNormalization(name=f"block_{number}_norm")(x)
        x = keras.layers.ReLU(name=f"block_{number}_relu")(x)
    return with_weights(keras.Model(inputs, x, name="backbone"))


def images() -> tuple[np.ndarray, np.ndarray]:
    """16 images and their labels."""
    rng = np.random.default_rng(0)
    return rng.uniform(0, 1, (16, 8, 8, 3)).astype("float32"), rng.integers(0, 3, 16).astype("int32")


def points(count: int = 24, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points of three classes."""
    x = np.random.default_rng(seed).normal(size=(count, 4)).astype("float32")
    return x, (x @ np.random.default_rng(5).normal(size=(4, 3))).argmax(1)


def dense() -> keras.Model:
    """Three dense stages, compiled."""
    keras.utils.set_random_seed(1)
    widths = {"first": 6, "second": 5, "top": 3}
    layers = [keras.layers.Dense(width, activation="tanh", name=name) for name, width in widths.items()]
    model = with_weights(keras.Sequential([keras.Input((4,)), *layers], name="net"))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    return model


def callbacks(folder: Path) -> list[keras.callbacks.Callback]:
    """Those of the run that was stopped."""
    return [kerasft.GradualUnfreezing(PHASES), kerasft.BackupAndRestore(folder)]


def fit(model: keras.Model, given: list[keras.callbacks.Callback], epochs: int = EPOCHS) -> None:
    """The run."""
    model.fit(
        *points(),
        validation_data=points(12, 1),
        batch_size=8,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=given,
    )


def search() -> kerasft.FreezeDepthSearch:
    """A search of two depths and two rates."""
    fixed = {"layerwise_decay": None, "weight_decay": None, "dropout": None}
    return kerasft.FreezeDepthSearch(
        dense, depths=[1, 2], recipes=["head_then_all"], learning_rate=[0.01, 0.05], keep=2, **fixed
    )


def run_search(found: kerasft.FreezeDepthSearch, directory: Path) -> keras_tuner.Tuner:
    """Search in `directory`, or go on with what is there."""
    tuner = keras_tuner.RandomSearch(
        found, "val_accuracy", max_trials=4, directory=directory, project_name="search", seed=1
    )
    tuner.search(*points(), validation_data=points(12, 1), batch_size=8, epochs=3, shuffle=False, verbose=0)
    return tuner
