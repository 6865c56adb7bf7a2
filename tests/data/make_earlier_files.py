"""Files of version 0.1.0 as its first layout wrote them, which later ones must read: `make_earlier_files.py`.

They were made once, by the tree at 769f26e (Keras 3.15.1, TensorFlow 2.21), and are not made again: what an
old version wrote is what matters. `earlier_files.py` in tests/support builds the models and the data, so that
the tests build the same.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

import earlier_files as earlier
import keras
import keras_tuner
import numpy as np

import kerasft

FOLDER = Path(__file__).parent / "earlier"


class Stop(keras.callbacks.Callback):
    """Ends a run as a kill would, when an epoch has ended."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


def make_keras_file() -> None:
    """A trained classifier over a Hub backbone, with multipliers and a loss scale."""
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / "earlier_backbone"
    kerasft.export.to_saved_model(earlier.backbone(), folder, overwrite=True)
    backbone = kerasft.hub.load_backbone(folder, batch_norm="statistics", input_shape=(8, 8, 3))
    inputs = keras.Input((8, 8, 3), name="image")
    x = keras.layers.GlobalAveragePooling2D()(backbone(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3, name="scores")(x), name="classifier")
    adam = keras.optimizers.AdamW(0.01, weight_decay=0.1)
    factors = kerasft.layerwise_decay(model, 0.5)
    optimizer = kerasft.with_lr_multipliers(keras.optimizers.LossScaleOptimizer(adam), factors)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images, labels = earlier.images()
    model.fit(images, labels, batch_size=8, epochs=2, shuffle=False, verbose=0)
    model.save(FOLDER / "model.keras")
    outputs = model.predict(images, verbose=0)
    model.fit(images, labels, batch_size=8, epochs=1, shuffle=False, verbose=0)
    np.savez(FOLDER / "model.npz", outputs, *model.get_weights())


def make_backup() -> None:
    """A run that was stopped after its third epoch, and the weights of the run that was not."""
    model = earlier.dense()
    callbacks = earlier.callbacks(FOLDER / "backup")
    try:
        earlier.fit(model, [*callbacks, Stop(2)])
    except KeyboardInterrupt:
        pass
    model = earlier.dense()
    earlier.fit(model, earlier.callbacks(FOLDER / "whole"))
    np.savez(FOLDER / "backup.npz", *model.get_weights())


def make_record() -> None:
    """A record that was kept."""
    model = earlier.dense()
    kerasft.freeze(model, "top")
    cache = kerasft.PrefixCache(FOLDER / "records", keep=True, seed=0)
    earlier.fit(model, [cache], epochs=3)
    np.savez(FOLDER / "records.npz", *model.get_weights())


def make_search() -> None:
    """A search that was stopped in its third trial."""
    search = earlier.search()
    ended = []

    def stop(record):
        ended.append(record)
        if len(ended) == 2:
            raise KeyboardInterrupt

    search.on_trial_end = stop
    try:
        earlier.run_search(search, FOLDER)
    except KeyboardInterrupt:
        pass


def make_exports() -> None:
    """A schedule, and a .tflite file's report and golden pack."""
    kerasft.UnfreezingSchedule(earlier.PHASES).to_json(FOLDER / "schedule.json")
    images, _ = earlier.images()
    os.chdir(FOLDER)
    report = kerasft.export.to_tflite(earlier.backbone(), "model.tflite", input_range=(0.0, 1.0))
    Path("report.json").write_text(report.to_json())
    kerasft.export.to_pack(report, "pack.zip", golden=images[:2])


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for make in (make_keras_file, make_backup, make_record, make_search, make_exports):
        make()
    print(keras_tuner.__version__, "done")
