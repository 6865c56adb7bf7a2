"""A search that kills itself, and is started again by tests: `killed_search.py FOLDER [kill TRIAL EPOCH]`.

Writes all trials to `results.json`, and the best one with its evaluated score to `best.txt`.
"""

import os
import signal
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_tuner
import numpy as np

import kerasft
from kerasft.search.results.tables import to_json

SAMPLES, EPOCHS, TRIALS = 48, 3, 6


def build(hp: keras_tuner.HyperParameters) -> keras.Model:
    """A compiled model of four stages, with a hyperparameter of its own."""
    layers = [keras.layers.Dense(6, activation="tanh", name=f"block_{i}") for i in range(3)]
    dropout = keras.layers.Dropout(0.3)
    top = keras.layers.Dense(3, activation=hp.Choice("last", ["softmax", "sigmoid"]), name="top")
    model = keras.Sequential([keras.Input((4,)), *layers, dropout, top])
    model.compile(keras.optimizers.AdamW(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def data(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples and labels."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 4)).astype("float32")
    return x, (x @ np.random.default_rng(5).normal(size=(4, 3))).argmax(1)


class Killer(keras.callbacks.Callback):
    """Kills the process in an epoch of a trial."""

    def __init__(self, project: Path, trial: int, epoch: int) -> None:
        super().__init__()
        self.project, self.trial, self.epoch = project, trial, epoch

    def __deepcopy__(self, memo: dict) -> "Killer":
        return self

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Kill it if this is the epoch."""
        done = len(list(self.project.glob("trial_*/kerasft.json")))
        if (done, epoch) == (self.trial, self.epoch):
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Search, or go on."""
    folder, kill = Path(sys.argv[1]), [int(word) for word in sys.argv[3:]]
    if (folder / "search").exists():
        kerasft.repair_search(folder / "search")
    search = kerasft.FreezeDepthSearch(build, [0, 2])
    tuner = keras_tuner.BayesianOptimization(
        search, "val_loss", max_trials=TRIALS, num_initial_points=3, seed=3, directory=folder,
        project_name="search",
    )  # fmt: skip
    validation = data(24, 1)
    tuner.search(
        *data(SAMPLES, 0), validation_data=validation, epochs=EPOCHS, batch_size=8, verbose=0,
        callbacks=[Killer(folder / "search", *kill)] if kill else [],
    )  # fmt: skip
    (folder / "results.json").write_text(to_json(search.results()))
    loss = search.best_model().evaluate(*validation, verbose=0, return_dict=True)["loss"]
    (folder / "best.txt").write_text(f"{tuner.oracle.get_best_trials(1)[0].trial_id} {loss:.6f}")


if __name__ == "__main__":
    main()
