"""Runs that are killed and started again, and backups that must be refused."""

import functools
import json
import random
import time

import forked
import keras
import killed_run
import numpy as np
import pytest
import tensorflow as tf

from kerasft import (
    BackupAndRestore,
    GradualUnfreezing,
    Phase,
    UnfreezingSchedule,
)


class StopError(Exception):
    """What ends a run in this process, as a kill would."""


class StopAt(keras.callbacks.Callback):
    """Raise at a batch of an epoch."""

    def __init__(self, epoch, batch=3):
        super().__init__()
        self.epoch, self.batch = epoch, batch

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.now, batch) == (self.epoch, self.batch):
            raise StopError


def run(
    folder,
    *extra,
    schedule=killed_run.SCHEDULE,
    make=None,
    source=None,
    keras_backup=False,
    epochs=7,
    replay_data=True,
):
    """One run; returns the final weights and the callback."""
    keras.utils.set_random_seed(7)
    model = (make or killed_run.build)()
    x, y = killed_run.data()
    data = {"x": x, "y": y, "batch_size": killed_run.BATCH}
    if source is not None:
        data = {"shuffle": False, **source()}  # they shuffle themselves
    unfreezing = GradualUnfreezing(schedule, stages=killed_run.stages(model))
    backup = BackupAndRestore(folder, replay_data=replay_data)
    if keras_backup:
        backup = keras.callbacks.BackupAndRestore(folder, double_checkpoint=True)
    callbacks = [unfreezing, backup, *extra]
    history = model.fit(
        **data, validation_data=(x[:32], y[:32]), epochs=epochs, verbose=0, callbacks=callbacks
    )
    return model.get_weights(), unfreezing, history


def stopped(folder, epoch, **options):
    with pytest.raises(StopError):
        run(folder, StopAt(epoch), **options)


def assert_equal(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The weights of the run that is not stopped."""
    return run(tmp_path_factory.mktemp("whole"))[0]


@pytest.mark.parametrize("keras_backup", [False, True])
def test_a_stopped_run_ends_at_the_same_weights(tmp_path, expected, keras_backup):
    """Stopped three times: in the first phase, after patience, in a warm-up."""
    for epoch in (1, 3, 5):
        stopped(tmp_path / "backup", epoch, keras_backup=keras_backup)
    weights, unfreezing, history = run(tmp_path / "backup", keras_backup=keras_backup)
    assert history.epoch[0] == 5
    assert_equal(weights, expected)
    assert [report.index for report in unfreezing.report][-1] == 3
    assert not (tmp_path / "backup").exists()


class Sequence(keras.utils.PyDataset):
    """A user's data set that shuffles itself after each epoch."""

    def __init__(self):
        super().__init__()
        self.x, self.y = killed_run.data()
        self.random = np.random.default_rng(3)
        self.order = np.arange(len(self.x))

    def __len__(self):
        return 8

    def __getitem__(self, index):
        rows = self.order[index * 8 : index * 8 + 8]
        return self.x[rows], self.y[rows]

    def on_epoch_end(self):
        self.random.shuffle(self.order)


def dataset():
    return tf.data.Dataset.from_tensor_slices(killed_run.data()).shuffle(64, seed=5)


def generator():
    random = np.random.default_rng(3)
    x, y = killed_run.data()
    while True:
        rows = random.integers(0, len(x), 8)
        yield x[rows], y[rows]


@pytest.mark.parametrize(
    "source",
    [
        lambda: {"x": dataset().batch(8)},
        lambda: {"x": dataset().repeat().batch(8), "steps_per_epoch": 5},
        lambda: {"x": Sequence()},
        lambda: {"x": generator(), "steps_per_epoch": 5},
    ],
    ids=["dataset", "repeated", "sequence", "generator"],
)
def test_every_source_of_data_goes_on_in_order(tmp_path, source):
    schedule = [Phase("top", 1), Phase(1)]
    whole, *_ = run(tmp_path / "whole", schedule=schedule, source=source, epochs=3)
    stopped(tmp_path / "backup", 2, schedule=schedule, source=source, epochs=3)
    weights, _, history = run(tmp_path / "backup", schedule=schedule, source=source, epochs=3)
    assert history.epoch == [2]
    assert_equal(weights, whole)


def test_without_replay_the_order_of_the_data_differs(tmp_path):
    """What the test above holds is not so by itself."""
    options = {
        "schedule": [Phase("top", 1), Phase(1)],
        "source": lambda: {"x": dataset().batch(8)},
        "epochs": 3,
    }
    whole, *_ = run(tmp_path / "whole", **options)
    stopped(tmp_path / "backup", 2, **options)
    weights, _, history = run(tmp_path / "backup", replay_data=False, **options)
    assert history.epoch == [2]
    assert max(np.abs(a - b).max() for a, b in zip(weights, whole)) > 1e-4


def test_a_backup_that_was_cut_short_is_passed_over(tmp_path, expected, caplog):
    stopped(tmp_path, 4)
    newest = tmp_path / "epoch-00004.weights.h5"
    newest.write_bytes(newest.read_bytes()[:-100])
    weights, _, history = run(tmp_path)
    assert history.epoch[0] == 3
    assert "epoch-00004 was cut short" in caplog.text
    assert_equal(weights, expected)


def test_keras_backup_that_was_cut_short_falls_back(tmp_path, expected):
    stopped(tmp_path, 4, keras_backup=True)
    newest = tmp_path / "latest.weights.h5"
    newest.write_bytes(newest.read_bytes()[:1000])
    weights, _, history = run(tmp_path, keras_backup=True)
    assert history.epoch[0] == 3
    assert_equal(weights, expected)


def test_no_whole_backup_is_an_error_that_keeps_the_files(tmp_path):
    stopped(tmp_path, 4)
    for path in tmp_path.glob("*.h5"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="None of the 2 backups"):
        run(tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_keras_backup_killed_between_its_two_files_is_noticed(tmp_path):
    stopped(tmp_path, 4, keras_backup=True)
    path = tmp_path / "training_metadata.json"
    path.write_text(json.dumps({"epoch": 3, "batch": 0}))
    with pytest.raises(ValueError, match=r"those after 4 epochs, but fit begins at epoch 3"):
        run(tmp_path, keras_backup=True)


def other_optimizer():
    model = killed_run.build()
    model.compile(keras.optimizers.SGD(0.1), model.loss)
    return model


def other_settings():
    model = killed_run.build()
    model.compile(keras.optimizers.AdamW(0.01, weight_decay=0.5), model.loss, metrics=["accuracy"])
    return model


def other_model():
    inputs = keras.Input((6,))
    x = inputs
    for name in ("low", "middle", "high"):
        x = keras.layers.Dense(9, name=f"{name}_dense")(x)
    model = keras.Model(inputs, keras.layers.Dense(3, name="top")(x))
    model.compile(keras.optimizers.AdamW(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"make": other_optimizer}, r'another optimizer: class was "AdamW" and is "SGD"\. Use'),
        ({"make": other_settings}, r"another optimizer: .*weight_decay was 0\.01 and is 0\.5"),
        ({"make": other_model}, "another model.*low_dense/kernel"),
        ({"schedule": UnfreezingSchedule([Phase("top", 2), Phase(0)])}, "another schedule.*val_accuracy"),
    ],
)
def test_a_run_of_something_else_is_refused_before_anything_is_written(tmp_path, options, message):
    stopped(tmp_path, 3)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=message):
        run(tmp_path, **options)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_other_files_in_the_folder_are_left_alone(tmp_path, dense_model):
    (tmp_path / "notes.txt").write_text("mine")
    dense_model.compile("adam", "mse")
    data = np.ones((8, 4)), np.ones((8, 3))
    dense_model.fit(*data, verbose=0, callbacks=[BackupAndRestore(tmp_path)])
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    history = dense_model.fit(*data, epochs=2, verbose=0)  # a later fit begins where it is told to
    assert history.epoch == [0, 1]


def test_only_the_last_two_backups_are_kept(tmp_path, dense_model):
    dense_model.compile("adam", "mse")
    callback = BackupAndRestore(tmp_path, delete_checkpoint=False)
    dense_model.fit(np.ones((8, 4)), np.ones((8, 3)), epochs=4, verbose=0, callbacks=[callback])
    names = sorted(p.name for p in tmp_path.iterdir())
    stems = ("epoch-00003", "epoch-00004")
    assert names == [f"{stem}.{end}" for stem in stems for end in ("json", "weights.h5")]


def test_bad_folders(tmp_path, dense_model):
    with pytest.raises(ValueError, match="empty"):
        BackupAndRestore("")
    (tmp_path / "file").touch()
    dense_model.compile("adam", "mse")
    with pytest.raises(ValueError, match="is a file"):
        dense_model.fit(np.ones((8, 4)), np.ones((8, 3)), callbacks=[BackupAndRestore(tmp_path / "file")])


def finish(process, folder):
    assert forked.finish(process) == 0, (folder / "errors.txt").read_text()[-4000:]
    with np.load(folder / "weights.npz") as stored:
        return list(stored.values())


def wait_for(condition, process):
    while not condition() and process.is_alive():
        time.sleep(0.001)


@pytest.fixture(scope="module")
def unkilled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unkilled")
    return finish(forked.start("killed_run.py", folder, folder=folder), folder)


@pytest.mark.slow
@pytest.mark.parametrize("instant", range(20))
def test_a_process_killed_at_any_instant_resumes_to_the_same_weights(tmp_path, unkilled, instant):
    """Fourteen random instants in training, and six while a backup is being written."""
    start = functools.partial(forked.start, "killed_run.py", tmp_path, folder=tmp_path)
    process = start(SECONDS_PER_STEP="0.02")
    wait_for((tmp_path / "begun").exists, process)
    if instant < 14:
        time.sleep(random.Random(instant).uniform(0, 4.5))
    else:
        backup = tmp_path / "backup"
        saved = instant - 13  # while the backup of this epoch is being written
        wait_for(lambda: any(backup.glob(f".epoch-{saved:05d}*")), process)
    process.kill()
    forked.finish(process)
    assert_equal(finish(start(), tmp_path), unkilled)
