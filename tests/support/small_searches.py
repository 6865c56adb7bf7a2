"""A small model, data and searches, for tests of `FreezeDepthSearch`."""

import keras
import keras_tuner
import numpy as np

COUNT, BATCH = 48, 8
FIXED = {"layerwise_decay": None, "weight_decay": None, "dropout": None, "learning_rate": 0.05}
X, Y = np.zeros((6, 4), "float32"), np.arange(6)


class Batches(keras.utils.PyDataset):
    """Three batches of two samples."""

    def __len__(self):
        return 3

    def __getitem__(self, i):
        return X[2 * i : 2 * i + 2], Y[2 * i : 2 * i + 2]


def data(count=COUNT, seed=0):
    """Points of three classes that a small network can tell apart."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 4)).astype("float32")
    return x, (x @ np.random.default_rng(5).normal(size=(4, 3))).argmax(1)


def build_model(compiled=True, units=5):
    """A backbone of three stages, and a head with dropout: four stages, freeze depths 0 to 3."""
    layers = [keras.layers.Dense(units, activation="tanh", name=f"block_{i}") for i in range(3)]
    backbone = keras.Sequential([keras.Input((4,)), *layers], name="backbone")
    head = [keras.layers.Dropout(0.2, name="drop"), keras.layers.Dense(3, activation="softmax", name="top")]
    model = keras.Sequential([keras.Input((4,)), backbone, *head], name="net")
    if compiled:
        optimizer = keras.optimizers.AdamW(0.01)
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def searched(tuner, epochs=3, **options):
    """Search, quietly."""
    given = {"validation_data": data(24, 1), "batch_size": BATCH, "shuffle": False, "verbose": 0}
    x, y = options.pop("train", data())
    tuner.search(x, y, epochs=epochs, **given | options)
    return tuner


def grid(search, folder, trials=100, objective="val_accuracy", **options):
    return keras_tuner.GridSearch(
        search, objective, max_trials=trials, directory=folder, project_name="p", **options
    )
