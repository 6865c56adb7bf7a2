import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf

from kerasft.search.cluster.driver import _Driver, _room, search_on_ray
from kerasft.search.hypermodel import FreezeDepthSearch

ray = pytest.importorskip("ray")

SUPPORT = Path(__file__).parent.parent.parent / "support"
# keras-tuner's locks ask for the name of the thread in the old way
pytestmark = pytest.mark.filterwarnings(
    r"ignore:(currentThread|getName)\(\) is deprecated:DeprecationWarning"
)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(24, 4)).astype("float32")
    return x, (x[:, 0] > 0).astype("int32") + (x[:, 1] > 0)


def builder():
    """A function that only this process knows, as one in a script is."""

    def build():
        layers = [
            keras.Input((4,)),
            keras.layers.Dense(32, activation="relu", name="first"),
            keras.layers.Dense(32, activation="relu", name="second"),
            keras.layers.Dense(3, activation="softmax", name="top"),
        ]
        model = keras.Sequential(layers, name="net")
        model.compile(keras.optimizers.Adam(), "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    return build


# --- processes


@pytest.fixture(scope="module")
def cluster():
    """A cluster with room for two processes on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what Ray's FutureWarning asks for
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


def hanging(folder):
    """A callback that hangs in the second epoch of whichever trial comes there first."""

    class Hang(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            (folder / f"begun-{time.time_ns()}-{os.getpid()}").touch()

        def on_epoch_end(self, epoch, logs=None):
            if epoch != 1:
                return
            try:
                with open(folder / "hangs", "x") as file:
                    file.write(f"{os.getpid()}\n")
            except FileExistsError:
                return
            time.sleep(300)

    return Hang()


def kill_what_hangs(folder, killed):
    while not (folder / "hangs").exists() or not (folder / "hangs").read_text().endswith("\n"):
        time.sleep(0.05)
    killed.append(int((folder / "hangs").read_text()))
    os.kill(killed[0], signal.SIGKILL)


@pytest.mark.slow
def test_a_killed_worker_costs_its_trial_a_retry_and_nothing_else(cluster, tmp_path, data):
    def tuner(name, search):
        return keras_tuner.RandomSearch(search, "val_loss", 3, seed=1, directory=tmp_path, project_name=name)

    fit = {"validation_data": data, "epochs": 2, "batch_size": 8, "verbose": 0}
    search, ended, killed = FreezeDepthSearch(builder(), prune=False), [], []
    search.on_trial_end = ended.append
    parallel = tuner("parallel", search)
    killer = threading.Thread(target=kill_what_hangs, args=(tmp_path, killed), daemon=True)
    killer.start()
    retried = search_on_ray(parallel, *data, **fit, callbacks=[hanging(tmp_path)])
    killer.join(1)
    begun = [int(path.name.split("-")[2]) for path in tmp_path.glob("begun-*")]
    assert list(retried.values()) == [1]
    assert len(begun) == 3 + 1  # the killed trial began twice, the others once
    assert killed[0] in begun and len(set(begun)) <= 2 + 1
    assert sorted(record.trial for record in ended) == ["0", "1", "2"]
    assert {t.status for t in parallel.oracle.trials.values()} == {"COMPLETED"}
    assert json.loads((tmp_path / "parallel" / "oracle.json").read_text())["ongoing_trials"] == {}

    one = FreezeDepthSearch(builder(), prune=False)
    serial = tuner("serial", one)
    serial.search(*data, **fit)
    for here, there in zip(one.results(serial), search.results(parallel), strict=True):
        assert there.values == here.values
        assert there.score == pytest.approx(here.score, rel=1e-5)
        assert there.replayed == here.replayed > 0
    # one process has trained the head, and the other has waited for it
    assert len(list((tmp_path / "parallel" / "kerasft" / "heads").glob("*.npz"))) == 1
    assert search.tuner is parallel
    loss = search.best_model(parallel).evaluate(*data, batch_size=8, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(min(record.score for record in ended), rel=1e-5)


@pytest.mark.slow
def test_failures_and_data_come_across(cluster, tmp_path, data):
    def make_data():
        with open(tmp_path / "made", "a") as file:
            file.write(f"{os.getpid()}\n")
        return tf.data.Dataset.from_tensor_slices(data).batch(8)

    class Model(keras_tuner.HyperModel):
        def build(self, hp):
            hp.Choice("way", ["well", "badly", "well again", "to the end"])
            return builder()()

        def fit(self, hp, model, *args, **kwargs):
            if hp["way"] == "badly":
                raise OSError("This trial can't go on.")
            if hp["way"] == "to the end":
                raise keras_tuner.errors.FatalValueError("No trial can.")
            assert not kwargs["validation_data"][0].flags.writeable
            return model.fit(*args, **kwargs)

    tuner = keras_tuner.GridSearch(Model(), "val_loss", directory=tmp_path)
    with pytest.raises(keras_tuner.errors.FatalValueError, match=r"^No trial can\.$"):
        search_on_ray(tuner, make_data, validation_data=data, workers=1, verbose=0)
    trials = list(tuner.oracle.trials.values())
    assert [t.status for t in trials] == ["COMPLETED", "FAILED", "COMPLETED", "RUNNING"]
    assert 'raise OSError("This trial can\'t go on.")' in trials[1].message
    assert len((tmp_path / "made").read_text().split()) == 1  # one process has run all
    assert tuner.oracle.get_best_trials(1)[0].score == min(trials[0].score, trials[2].score)


@pytest.mark.slow
def test_keras_tuners_own_workers_still_work(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    processes = []
    for name in ("chief", "tuner0"):
        setting = {"TUNER_ID": name, "ORACLE_IP": "127.0.0.1", "ORACLE_PORT": port}
        environment = {**os.environ, **{f"KERASTUNER_{key}": value for key, value in setting.items()}}
        command = [sys.executable, SUPPORT / "cluster_search.py", tmp_path]
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True))
    try:
        outputs = [process.communicate(timeout=120) for process in reversed(processes)]
    finally:
        for process in processes:  # a chief waits forever for a worker that has failed
            process.kill()
            process.communicate()
    assert [process.returncode for process in processes] == [0, 0], outputs
    worker, chief = (json.loads(out.splitlines()[-1]) for out, _ in outputs)
    assert worker == chief
    assert sorted(chief["records"]) == ["0", "1"]
    assert chief["loss"] == pytest.approx(min(chief["records"].values()), rel=1e-5)


# --- the driver alone, with workers that are played


class Ref:
    """The outcome of a worker's task, which `play` makes."""

    def __init__(self, play, ready=True):
        self.play, self.ready = play, ready


class Worker:
    """A process that has run a trial when it is asked what came of it."""

    def __init__(self, play, prepare=lambda: None, ready=True):
        self.prepared = Ref(prepare, ready)
        self.run = types.SimpleNamespace(remote=lambda oracle: Ref(lambda: play(oracle)))


class Ray:
    """Ray, with references that are ready or never will be."""

    exceptions = ray.exceptions

    def __init__(self):
        self.killed = []

    def wait(self, refs, num_returns, timeout):
        ready = [ref for ref in refs if ref.ready]
        assert ready or timeout, "this would wait forever"
        return ready[:1], [ref for ref in refs if ref not in ready[:1]]

    def get(self, ref):
        return ref.play()

    def kill(self, worker):
        self.killed.append(worker)


def grid(folder, values=(1.0, 2.0, 3.0), hypermodel=None, **options):
    hp = keras_tuner.HyperParameters()
    hp.Choice("value", list(values))
    build = hypermodel or (lambda hp: None)
    options = {"hyperparameters": hp, "tune_new_entries": False, "directory": folder, **options}
    return keras_tuner.GridSearch(build, keras_tuner.Objective("value", "min"), **options)


def completing(oracle):
    oracle.trial.status = "COMPLETED"
    return oracle.trial, ({"value": oracle.trial.hyperparameters["value"]}, 0)


def dying(*given):
    raise ray.exceptions.WorkerCrashedError()


def drive(tuner, workers, retries=1, most=2):
    """Search with these workers, as they are needed; the retries, and the workers that were ended."""
    coming, fake = iter(workers), Ray()

    def start(name):
        worker = next(coming)
        return worker, worker.prepared

    driver = _Driver(fake, tuner, start, retries)
    try:
        return driver.run(most), fake.killed
    finally:
        assert set(driver.workers.values()) <= set(fake.killed)  # none stays, whatever happens


def statuses(tuner):
    return [trial.status for _, trial in sorted(tuner.oracle.trials.items())]


def test_a_trial_whose_worker_always_dies_fails(tmp_path):
    def play(oracle):
        return (dying if oracle.trial.trial_id == "0001" else completing)(oracle)

    tuner = grid(tmp_path, max_trials=1000)
    retried, killed = drive(tuner, [Worker(play) for _ in range(9)], retries=2)
    assert retried == {"0001": 2}
    assert statuses(tuner) == ["COMPLETED", "FAILED", "COMPLETED"]
    assert "died in each of 3 tries" in tuner.oracle.trials["0001"].message
    assert len(killed) == 3 + 2  # those that died, and in the end those that lived


def test_such_a_trial_has_a_record_and_is_told_of(tmp_path):
    search, ended = FreezeDepthSearch(builder()), []
    search.on_trial_end = ended.append
    tuner = keras_tuner.RandomSearch(search, "val_loss", max_trials=1, directory=tmp_path)
    drive(tuner, [Worker(dying) for _ in range(9)], most=1)
    (record,) = search.results(tuner)
    assert (record.status, record.score) == ("failed", None) and "died in each of 2" in record.reason
    assert ended == [record]


def test_another_worker_takes_the_trial_while_the_new_one_has_no_room(tmp_path):
    tuner = grid(tmp_path)
    workers = [Worker(completing), Worker(dying), Worker(completing, ready=False)]
    assert list(drive(tuner, workers)[0].values()) == [1]
    assert statuses(tuner) == ["COMPLETED"] * 3


def test_workers_that_die_at_once_end_the_search(tmp_path):
    with pytest.raises(RuntimeError, match="2 workers in a row died before they could begin"):
        drive(grid(tmp_path), [Worker(completing, dying) for _ in range(9)])


def test_an_error_of_the_trial_ends_the_search_as_it_was_raised(tmp_path):
    def fatal(oracle):
        raise ray.exceptions.RayTaskError("run", "remotely", keras_tuner.errors.FatalTypeError("No model."))

    with pytest.raises(keras_tuner.errors.FatalTypeError, match=r"^No model\.$"):
        drive(grid(tmp_path), [Worker(fatal), Worker(fatal)])


@pytest.mark.parametrize("made_again", [True, False])
def test_an_interrupted_search_goes_on(tmp_path, made_again):
    def interrupted(oracle):
        if oracle.trial.hyperparameters["value"] == 3.0:
            raise KeyboardInterrupt
        return completing(oracle)

    tuner = grid(tmp_path, max_trials=5)
    with pytest.raises(KeyboardInterrupt):
        drive(tuner, [Worker(interrupted)], most=1)
    if made_again:
        tuner = grid(tmp_path, max_trials=5)
    assert statuses(tuner) == ["COMPLETED", "COMPLETED", "RUNNING"]
    ran = []
    drive(tuner, [Worker(lambda oracle: ran.append(oracle.trial.trial_id) or completing(oracle))], most=1)
    assert ran == ["2"] and statuses(tuner) == ["COMPLETED"] * 3


def test_an_oracle_that_waits_for_a_trial_is_asked_again(tmp_path):
    class Patient(keras_tuner.Oracle):
        def populate_space(self, trial_id):
            if self.ongoing_trials:
                return {"status": "IDLE"}
            return {"status": "RUNNING", "values": {"value": float(trial_id)}}

    hp = keras_tuner.HyperParameters()
    hp.Float("value", 0, 9)
    oracle = Patient(keras_tuner.Objective("value", "max"), max_trials=3, hyperparameters=hp)
    tuner = keras_tuner.Tuner(oracle, lambda hp: None, directory=tmp_path)
    drive(tuner, [Worker(completing), Worker(completing)])
    assert statuses(tuner) == ["COMPLETED"] * 3
    assert oracle.get_best_trials(1)[0].score == 2.0


def test_the_oracles_own_retries_are_made(tmp_path):
    tries = []

    def second_time(oracle):
        tries.append(oracle.trial.trial_id)
        if len(tries) > 1:
            return completing(oracle)
        oracle.trial.status, oracle.trial.message = "INVALID", "not yet"
        return oracle.trial, None

    tuner = grid(tmp_path, [1.0], max_retries_per_trial=1)
    assert drive(tuner, [Worker(second_time)], most=1)[0] == {}
    assert len(tries) == 2 and statuses(tuner) == ["COMPLETED"]


def test_a_report_without_the_objective_makes_the_trial_fail(tmp_path):
    def other(oracle):
        oracle.trial.status = "COMPLETED"
        return oracle.trial, ({"other": 1.0}, 0)

    tuner = grid(tmp_path, [1.0])
    drive(tuner, [Worker(other)], most=1)
    assert statuses(tuner) == ["FAILED"]
    assert "Objective value missing" in tuner.oracle.trials["0000"].message


def test_the_budget_is_the_drivers(tmp_path):
    def slow(oracle):
        oracle.trial.status = "COMPLETED"
        time.sleep(0.2)
        return oracle.trial, ({"val_loss": 1.0}, 0)

    search = FreezeDepthSearch(builder(), budget=0.1)
    tuner = keras_tuner.RandomSearch(search, "val_loss", max_trials=9, directory=tmp_path)
    drive(tuner, [Worker(slow)], most=1)
    assert statuses(tuner) == ["COMPLETED"]


# --- before it begins


def test_a_data_set_is_refused_and_the_message_says_what_to_give(tmp_path, data):
    dataset = tf.data.Dataset.from_tensor_slices(data)
    with pytest.raises(TypeError, match="argument 0 is a tf.data.Dataset.*Give a function that returns it"):
        search_on_ray(grid(tmp_path), dataset)
    with pytest.raises(TypeError, match="validation_data is a tf.data.Dataset"):
        search_on_ray(grid(tmp_path), *data, validation_data=dataset)


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"workers": 1.5}, {"retries": -1}, {"retries": True}])
def test_numbers_out_of_range_are_refused(tmp_path, wrong):
    message = f"{next(iter(wrong))} is an integer of at least .* received"
    with pytest.raises((TypeError, ValueError), match=message):
        search_on_ray(grid(tmp_path), **wrong)


def test_without_ray_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install kerasft\[cluster\]"):
        search_on_ray(grid(tmp_path))


def test_keras_tuners_own_mode_is_not_mixed_with_it(tmp_path, monkeypatch):
    tuner = grid(tmp_path)
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    with pytest.raises(ValueError, match="KERASTUNER_ORACLE_IP is set"):
        search_on_ray(tuner)


def test_what_cannot_be_sent_is_named(cluster, tmp_path):
    tuner = grid(tmp_path)
    oracle = tuner.oracle
    with pytest.raises(TypeError, match="can't be sent to other processes.*lock"):
        search_on_ray(tuner, threading.Lock())
    assert tuner.oracle is oracle


def test_room_is_counted_machine_by_machine():
    machines = [
        {"Alive": True, "Resources": {"CPU": 5.0, "GPU": 2.0}},
        {"Alive": True, "Resources": {"CPU": 3.0}},
        {"Alive": False, "Resources": {"CPU": 99.0}},
    ]
    assert _room(machines, {"CPU": 2, "GPU": 0}) == 2 + 1
    assert _room(machines, {"CPU": 1, "GPU": 0.5}) == 4
    with pytest.raises(ValueError, match=r"no room for a trial that takes \{'CPU': 6\}"):
        _room(machines, {"CPU": 6, "GPU": 0})
    with pytest.raises(ValueError, match="give the number of workers"):
        _room(machines, {"CPU": 0, "GPU": 0})
