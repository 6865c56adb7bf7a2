"""A run with a PrefixCache that is killed and started again: `killed_cache.py FOLDER STORAGE SOURCE [keras]`.

STORAGE is memory, disk, kept or older (the folder of an older run's record, of other batches and of a part
of the samples); SOURCE is arrays, dataset, ordered or repeated. The script writes `begun` when training
begins, and the final weights to `weights.npz`.

`killed_cache.py kills COUNT [STORAGE SOURCE]` kills COUNT runs of each storage and source at random instants,
and prints by how much their weights differ from those of the run that was not killed.
"""

import itertools
import os
import random
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from killed_run import Slow

import kerasft

SAMPLES, BATCH, EPOCHS = 44, 8, 8  # the last batch has four
STORAGES = ("memory", "disk", "kept", "older")
SOURCES = ("arrays", "dataset", "ordered", "repeated")


def build() -> keras.Model:
    """A compiled model of four stages with dropout in its head."""
    layers = [keras.Input((6,))]
    for name in ("low", "middle", "high"):
        layers += [keras.layers.Dense(8, "relu", name=f"{name}_dense")]
    layers += [keras.layers.Dropout(0.2, name="drop"), keras.layers.Dense(3, name="top")]
    model = keras.Sequential(layers, name="net")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.02), loss, metrics=["accuracy"])
    return model


def data() -> tuple[np.ndarray, np.ndarray]:
    """Samples, of which three come twice and two with two labels."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(SAMPLES, 6)).astype("float32")
    y = (x[:, 0] * 2 + x[:, 1] > 0).astype("int32") + (x[:, 2] > 1)
    x[40:] = x[:4]
    y[41:] = y[1:4]
    y[40] = 2 - y[0]
    return x, y


def source(kind: str) -> dict[str, object]:
    """Arguments of `fit`."""
    x, y = data()
    if kind == "arrays":
        return {"x": x, "y": y, "batch_size": BATCH}
    rows = tf.data.Dataset.from_tensor_slices((x, y))
    if kind == "ordered":
        return {"x": rows.batch(BATCH), "shuffle": False}
    rows = rows.shuffle(SAMPLES, seed=5)
    if kind == "repeated":
        return {"x": rows.repeat().batch(BATCH), "steps_per_epoch": 5, "shuffle": False}
    return {"x": rows.batch(BATCH), "shuffle": False}


def schedule() -> list[kerasft.Phase]:
    """The depth changes in every second epoch; in the last phase nothing is frozen."""
    return [kerasft.Phase(d, epochs=2) for d in ("top", "high_dense", "top")] + [kerasft.Phase(0, epochs=2)]


def older(folder: Path) -> None:
    """An older run, with more layers frozen later, other batches and two thirds of the samples."""
    keras.utils.set_random_seed(7)
    model, (x, y) = build(), data()
    kerasft.freeze(model, "high_dense")
    cache = kerasft.PrefixCache(folder, keep=True, seed=99)
    model.fit(x[:30], y[:30], batch_size=5, epochs=2, verbose=0, callbacks=[cache])


def train(folder: Path, storage: str, kind: str, keras_backup: bool = False) -> list[np.ndarray]:
    """Train, from where an earlier run was killed."""
    record, backup = folder / "record", folder / "backup"
    if storage == "older" and not record.exists():
        partial = Path(tempfile.mkdtemp(dir=folder))
        older(partial)
        partial.rename(record)
    keras.utils.set_random_seed(7)
    where = "memory" if storage == "memory" else record
    cache = kerasft.PrefixCache(where, keep=storage in ("kept", "older"))
    model = build()
    stages = kerasft.find_stages(model, at=["low_dense", "middle_dense", "high_dense", "top"])
    unfreezing = kerasft.GradualUnfreezing(schedule(), stages=stages)
    saving = kerasft.BackupAndRestore(backup)
    if keras_backup:
        saving = keras.callbacks.BackupAndRestore(backup, double_checkpoint=True)
    callbacks = [unfreezing, saving, cache, Slow(folder, float(os.environ.get("SECONDS_PER_STEP", "0")))]
    order = os.environ.get("CALLBACK_ORDER")  # the cache may stand anywhere
    if order is not None:
        callbacks = [callbacks[int(i)] for i in order]
    model.fit(**source(kind), epochs=EPOCHS, verbose=0, callbacks=callbacks)
    assert cache.report.replayed.count(True) or model.history.epoch[0] > 1, cache.reason
    return model.get_weights()


def kills(count: int, *only: str) -> None:
    """Kill runs at random instants, and compare; every second one is killed twice."""
    import forked

    draw = random.Random(0)
    for storage, kind in [only] if only else itertools.product(STORAGES, SOURCES):
        with tempfile.TemporaryDirectory() as place:
            base = Path(place)
            whole = weights_of(forked, base / "whole", storage, kind)
            worst = []
            for n in range(count):
                folder = base / str(n)
                folder.mkdir()
                for _ in range(1 + n % 2):
                    process = forked.start(
                        "killed_cache.py", folder, storage, kind, folder=folder, SECONDS_PER_STEP="0.1"
                    )
                    kill(process, folder, draw.uniform(0, 5) / (1 + n % 2))
                found = weights_of(forked, folder, storage, kind)
                worst.append(max(float(np.abs(a - b).max()) for a, b in zip(whole, found, strict=True)))
            print(storage, kind, f"{worst.count(0.0)} of {count} equal to the bit", worst, flush=True)


def kill(process, folder: Path, seconds: float) -> None:
    """Kill a run some seconds after training has begun."""
    while not (folder / "begun").exists() and process.is_alive():
        time.sleep(0.001)
    (folder / "begun").unlink(missing_ok=True)
    process.join(seconds)
    process.kill()
    process.join()


def weights_of(forked, folder: Path, storage: str, kind: str) -> list[np.ndarray]:
    """Run to the end; return the final weights."""
    folder.mkdir(exist_ok=True)
    order = {} if "CALLBACK_ORDER" not in os.environ else {"CALLBACK_ORDER": os.environ["CALLBACK_ORDER"]}
    process = forked.start("killed_cache.py", folder, storage, kind, folder=folder, **order)
    assert forked.finish(process) == 0, (folder / "errors.txt").read_text()[-4000:]
    with np.load(folder / "weights.npz") as stored:
        return list(stored.values())


def main(folder: Path, *options: str) -> None:
    """Train, and write the weights."""
    weights = train(folder, *options[:2], keras_backup="keras" in options)
    partial = folder / "partial.npz"
    np.savez(partial, *weights)
    partial.rename(folder / "weights.npz")


if __name__ == "__main__":
    if sys.argv[1] == "kills":
        kills(int(sys.argv[2]), *sys.argv[3:])
    else:
        main(Path(sys.argv[1]), *sys.argv[2:])
