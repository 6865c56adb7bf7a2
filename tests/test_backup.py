"""Runs that are killed and started again, and backups that must be refused."""

import copy
import functools
import json
import pickle
import random
import time

import forked
import keras
import killed_run
import numpy as np
import pytest
import tensorflow as tf

import kerasft
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
    assert "epoch-00004 was cut short or damaged" in caplog.text
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


def test_a_folder_is_named_by_a_path(tmp_path):
    for wrong in (None, 3, b"backup"):
        with pytest.raises(TypeError, match="backup_dir is the path of a folder, not"):
            BackupAndRestore(wrong)
    assert BackupAndRestore(str(tmp_path)).backup_dir == BackupAndRestore(tmp_path).backup_dir == tmp_path


def small(*names, activation="tanh", build=True):
    """A little model with seeded dropout, compiled; without names, Keras counts them up."""
    keras.utils.set_random_seed(3)
    names = names or (None, None)
    layers = [keras.layers.Dense(4, activation, name=names[0]), keras.layers.Dropout(0.2)]
    layers = [*([keras.Input((4,))] if build else []), *layers, keras.layers.Dense(3, name=names[1])]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(0.05), "mse")
    return model


def fit_small(model, *callbacks, epochs=3):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(16, 4)).astype("float32"), rng.normal(size=(16, 3)).astype("float32")
    model.fit(x, y, epochs=epochs, batch_size=8, verbose=0, callbacks=list(callbacks))
    return model


def stop_small(folder, make=small):
    with pytest.raises(StopError):
        fit_small(make(), BackupAndRestore(folder), StopAt(2, batch=0))


@pytest.fixture(scope="module")
def whole():
    """The weights after three epochs of plain Keras."""
    return fit_small(small()).get_weights()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"epoch": 2', '"epoch": 3'),
        lambda text: text.replace('"epoch": 2', '"epoch": 1000000'),
        lambda text: text.replace('"class": "Adam"', '"class": "Adap"'),
        lambda text: text.replace('"checksum"', '"checksuo"'),
        lambda text: text.replace('"random"', '"rando-"'),
        lambda text: text[:-40],
        lambda text: "[" * 100_000,
        lambda text: "3",
    ],
    ids=["epoch", "far", "class", "checksum", "key", "cut", "nested", "other"],
)
def test_a_manifest_that_changed_is_not_used(tmp_path, whole, caplog, change):
    """The one before it is, to the weights of plain Keras: no epoch is skipped, and none is read for ever."""
    stop_small(tmp_path)
    path = tmp_path / "epoch-00002.json"
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before
    model = fit_small(small(), BackupAndRestore(tmp_path))
    assert model.history.epoch == [1, 2] and "epoch-00002 was cut short or damaged" in caplog.text
    assert_equal(model.get_weights(), whole)


def test_an_earlier_version_without_checksums_is_held_against_the_name_of_its_file(tmp_path, whole):
    stop_small(tmp_path)
    path = tmp_path / "epoch-00002.json"
    content = json.loads(path.read_text())
    del content["checksum"], content["identity"]["layers"], content["identity"]["keras"]
    path.write_text(json.dumps({**content, "epoch": 3}))
    assert fit_small(small(), BackupAndRestore(tmp_path / "copy")).history.epoch == [0, 1, 2]
    for epoch, begins in ((3, 1), (2, 2)):
        path.write_text(json.dumps({**content, "epoch": epoch}))
        callback = BackupAndRestore(tmp_path, delete_checkpoint=False)
        with pytest.raises(StopError):
            fit_small(small(), callback, StopAt(begins, batch=0))
    assert_equal(fit_small(small(), BackupAndRestore(tmp_path)).get_weights(), whole)


def test_where_nothing_is_left_to_train_no_data_are_read(tmp_path):
    class Counted(keras.utils.PyDataset):
        """One batch; counts how often it is read."""

        reads = 0

        def __len__(self):
            return 1

        def __getitem__(self, index):
            self.reads += 1
            return np.ones((4, 4)), np.ones((4, 3))

    stop_small(tmp_path)
    data = Counted()
    model = small()
    model.fit(data, epochs=2, verbose=0, callbacks=[BackupAndRestore(tmp_path)])
    assert model.history.epoch == [] and data.reads <= 1  # Keras looks at the first batch
    assert int(model.optimizer.iterations) == 4


@pytest.mark.parametrize("make", [small, functools.partial(small, build=False)], ids=["built", "unbuilt"])
def test_a_model_that_is_built_again_is_the_same(tmp_path, whole, make):
    """In one process, as in a notebook: its automatic names are others, and those of a user may be, too."""
    stop_small(tmp_path, make)
    model = fit_small(make("a", "b"), BackupAndRestore(tmp_path))
    assert model.history.epoch == [2]
    assert_equal(model.get_weights(), whole)


def test_a_schedule_goes_on_with_a_model_that_is_built_again(tmp_path):
    """Depths, multipliers, measured rates, best epochs and slots follow the layers, not the names."""

    def run_again(folder, *extra):
        model = small()
        names = [layer.name for layer in model.layers if layer.weights]
        phases = [
            Phase(names[1], epochs=1),
            Phase(names[0], patience=1, monitor="loss", multipliers={names[0]: 0.5}),
            Phase(0),
        ]
        unfreezing = GradualUnfreezing(phases, auto_rates=True)
        fit_small(model, unfreezing, BackupAndRestore(folder), *extra, epochs=4)
        return model

    expected = run_again(tmp_path / "whole")
    with pytest.raises(StopError):
        run_again(tmp_path / "backup", StopAt(2, batch=0))
    found = run_again(tmp_path / "backup")
    assert found.history.epoch == [2, 3]
    assert [v.path for v in found.weights] != [v.path for v in expected.weights]
    assert_equal(found.get_weights(), expected.get_weights())


def test_another_activation_is_another_model(tmp_path):
    stop_small(tmp_path)
    with pytest.raises(
        ValueError, match="another model: its layer 0, from 0, the Dense 'a', had other settings"
    ):
        fit_small(small("a", "b", activation="relu"), BackupAndRestore(tmp_path))
    manifest = tmp_path / "epoch-00002.json"
    content = json.loads(manifest.read_text())
    assert content["identity"]["keras"] == keras.__version__


class NoCall(keras.Model):
    """A model that trains a part of itself by hand, and can't be called."""

    def __init__(self):
        super().__init__()
        self.part = keras.Sequential([keras.layers.Dense(3)])

    def train_step(self, data):
        return {"loss": keras.ops.sum(self.part(data[0]))}


def test_a_model_that_can_not_be_built_is_refused_before_it_trains(tmp_path):
    model = NoCall()
    model.compile("sgd")
    with pytest.raises(ValueError, match=r"is not built.*model\(x\).*builds its layers \('sequential"):
        fit_small(model, BackupAndRestore(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_averages_that_wait_in_the_model_are_saved_as_averages(tmp_path):
    """`SwapEMAWeights(swap_on_epoch=True)` has exchanged them for the weights when an epoch is saved."""

    def run_swapped(folder, *extra):
        model = small()
        model.compile(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.8), "mse")
        swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
        return fit_small(model, swap, BackupAndRestore(folder), *extra)

    expected = run_swapped(tmp_path / "whole")
    with pytest.raises(StopError):
        run_swapped(tmp_path / "backup", StopAt(2, batch=0))
    assert_equal(run_swapped(tmp_path / "backup").get_weights(), expected.get_weights())


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


def test_lora_goes_on_with_both_of_its_factors(tmp_path):
    """Keras merges them into the kernel in a file of weights, and reads zeros, which never train again."""

    def adapted():
        model = small()
        model.layers[0].enable_lora(2)
        model.compile(keras.optimizers.Adam(0.05), "mse")
        return model

    whole = fit_small(adapted())
    stop_small(tmp_path, adapted)
    resumed = fit_small(adapted(), BackupAndRestore(tmp_path))
    assert resumed.history.epoch == [2]
    assert_equal(resumed.get_weights(), whole.get_weights())
    assert np.abs(resumed.layers[0].lora_kernel_b).max() > 0


def test_a_run_that_goes_on_with_other_data_or_callbacks_says_so(tmp_path, caplog):
    def go_on(folder, rows, *callbacks):
        stop_small(folder)
        caplog.clear()
        x, y = np.ones((rows, 4), "float32"), np.ones((rows, 3), "float32")
        backup = BackupAndRestore(folder)
        small().fit(x, y, epochs=3, batch_size=8, verbose=0, callbacks=[*callbacks, backup])
        return [r.getMessage() for r in caplog.records if "differs from the one" in r.getMessage()]

    assert go_on(tmp_path / "same", 16) == []
    (said,) = go_on(tmp_path / "less", 8)
    assert "steps of an epoch were 2 and are 1" in said
    (said,) = go_on(tmp_path / "cached", 16, type("Own", (kerasft.PrefixCache,), {})())
    assert "were ['BackupAndRestore'] and are ['BackupAndRestore', 'PrefixCache']" in said


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_a_callback_of_a_fit_can_be_copied(tmp_path, copied):
    """The copy has the settings, and serves a fit of its own; the original goes on as it was."""
    schedule = kerasft.UnfreezingSchedule([kerasft.Phase(1, 1), kerasft.Phase(0)])
    unfreezing, backup = kerasft.GradualUnfreezing(schedule), BackupAndRestore(tmp_path)
    fit_small(small(), unfreezing, backup)
    copies = [copied(unfreezing), copied(backup)]
    assert copies[0].schedule == schedule and copies[1].backup_dir == tmp_path
    assert copies[0].report == [] and len(unfreezing.report) == 2
    first, second = fit_small(small(), unfreezing), fit_small(small(), *copies)
    assert_equal(first.get_weights(), second.get_weights())
