"""One process of keras-tuner's own chief/worker mode: `cluster_search.py FOLDER` with KERASTUNER_* set.

Searches with a FreezeDepthSearch, and prints its result as JSON.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_tuner
import numpy as np

import kerasft


def main(folder: Path) -> None:
    """Search, as the chief or as a worker."""

    def build():
        layers = [keras.Input((4,)), keras.layers.Dense(6, name="first"), keras.layers.Dense(3, name="top")]
        model = keras.Sequential(layers, name="net")
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(), loss, metrics=["accuracy"])
        return model

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 4)).astype("float32"), rng.integers(0, 3, 24)
    search = kerasft.FreezeDepthSearch(build, budget=600.0)
    tuner = keras_tuner.RandomSearch(search, "val_loss", max_trials=2, seed=1, directory=folder)
    tuner.search(x, y, validation_data=(x, y), epochs=2, batch_size=8, verbose=0)
    model = search.best_model(tuner)
    records = {r.trial: r.score for r in search.results(tuner)}
    loss = model.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)["loss"]
    print(json.dumps({"records": records, "loss": loss}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
