"""search_on_ray: the search of a keras-tuner tuner with its trials on the machines of a Ray cluster.

As in keras-tuner's own mode with a chief, workers run the tuner's loop, and a stand-in for the oracle hands
them trials; the oracle and its files stay with the process that began the search. A worker is a
process that runs one trial after another, so that TensorFlow, data, traced functions and knowledge of
shared records serve all its trials.
"""

from __future__ import annotations

import copy
import logging
import os
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import keras
import keras_tuner
import tensorflow as tf
from keras_tuner.engine.trial import Trial, TrialStatus

from kerasft.arguments import check_integer
from kerasft.search.cluster.worker import OneTrial, Worker, with_data
from kerasft.search.hypermodel import FreezeDepthSearch
from kerasft.search.results import SearchFolder, TrialRecord, read_trial

logger = logging.getLogger(__name__)


_ASK_AGAIN = 0.5  # seconds, while the oracle waits for something


def search_on_ray(
    tuner: keras_tuner.Tuner,
    *fit_args: Any,
    workers: int | None = None,
    cpus_per_trial: float = 1,
    gpus_per_trial: float = 0,
    retries: int = 2,
    **fit_kwargs: Any,
) -> dict[str, int]:
    """Do what `tuner.search(*fit_args, **fit_kwargs)` does, with the trials in parallel on a Ray cluster.

    Call `ray.init` before to choose the cluster; else it is called without arguments. A worker that dies,
    killed or with its machine, costs the trial that it ran another try, and nothing else. The tuner's
    `directory` must be a folder that all machines share, at the same path. What your script defines is sent
    to them; modules that it imports must be there.

    Data are sent once, and each worker keeps them; arrays are read-only there. A tf.data.Dataset can't be
    sent: give a function without arguments that returns it. Each function among the positional arguments, or
    as `x`, `y`, `sample_weight` or `validation_data`, is called once in each worker for what takes its place.

    The tuner's hooks run in the workers, those of a search around each trial. `on_trial_end` and `budget` of
    a `FreezeDepthSearch` work in this process.

    Args:
        tuner: A tuner with any HyperModel; with `overwrite=False` it continues where an earlier one ended.
        *fit_args: As for `tuner.search`.
        workers: How many trials run at once; None: as many as the cluster has room for now.
        cpus_per_trial: CPUs that each takes. TensorFlow gets as many threads.
        gpus_per_trial: GPUs that each takes; with none it trains on CPUs.
        retries: How often a trial begins again because its worker died, before it counts as failed.
        **fit_kwargs: As for `tuner.search`.

    Returns:
        How many retries trials took, by number; those that took none are not in it.

    Raises:
        ImportError: Ray is missing: `pip install kerasft[cluster]`.
        TypeError: A tf.data.Dataset was given, or something else that can't be sent to other processes; or a
            number is no integer.
        ValueError: A number is out of range, the cluster has no room for a trial, or keras-tuner's own mode
            with a chief is on.
        FatalError: A trial raised one, or a worker does not find the search's folder.
        RuntimeError: Workers die before they can begin, or too many trials in a row have failed.

    Example:
        ```python
        ray.init("auto")
        tuner = keras_tuner.Hyperband(search, "val_accuracy", max_epochs=20, directory="/shared/searches")
        kerasft.search_on_ray(tuner, x, y, validation_data=validation, gpus_per_trial=1)
        model = search.best_model()
        ```
    """
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise ImportError("search_on_ray needs Ray: pip install kerasft[cluster].") from error
    _check(workers, retries, {**{f"argument {i}": v for i, v in enumerate(fit_args)}, **fit_kwargs})
    if not ray.is_initialized():
        ray.init()
    room = workers or _room(ray.nodes(), {"CPU": cpus_per_trial, "GPU": gpus_per_trial})
    if "verbose" in fit_kwargs:
        tuner.oracle.verbose = fit_kwargs["verbose"]
    tuner.save()
    sent = _send(ray.put, tuner, fit_args, fit_kwargs)
    kind = ray.remote(Worker).options(num_cpus=cpus_per_trial, num_gpus=gpus_per_trial)

    def start(name: str) -> tuple[Any, Any]:
        worker = kind.remote(max(1, int(cpus_per_trial)))
        return worker, worker.prepare.remote(name, *sent)

    driver = _Driver(ray, tuner, start, retries)
    retried = driver.run(min(room, _unfinished(tuner.oracle)))
    if driver.search is not None and not driver.handed_out:
        args, kwargs = with_data(fit_args, fit_kwargs)
        driver.search.check_ended(tuner, *args, **kwargs)
    return retried


# --- in the process that searches


class _Driver:
    """Asks the oracle for trials, gives them to workers, and reports their outcomes to the oracle.

    No trial waits for a certain worker: one whose worker died goes to whichever is free first, so that a
    cluster that has lost a machine continues with those that are left.
    """

    def __init__(
        self, ray: Any, tuner: keras_tuner.Tuner, start: Callable[[str], tuple[Any, Any]], retries: int
    ) -> None:
        self.ray, self.tuner, self.oracle, self.start, self.retries = ray, tuner, tuner.oracle, start, retries
        self.search = tuner.hypermodel if isinstance(tuner.hypermodel, FreezeDepthSearch) else None
        if self.search is not None:
            self.search.attach(tuner)
        self.workers: dict[str, Any] = {}
        self.idle: list[str] = []
        self.busy: dict[Any, tuple[str, Trial | None]] = {}  # by Ray's reference; no trial: it prepares
        self.again = list(self.oracle.ongoing_trials.values())  # of an earlier search that was interrupted
        self.retried: dict[str, int] = {}
        self.failed_starts = self.handed_out = 0
        self.begun: float | None = None

    def run(self, workers: int) -> dict[str, int]:
        try:
            for n in range(workers):
                self._start(f"ray{n}")
            while True:
                status = self._hand_out()
                if status == TrialStatus.STOPPED and all(trial is None for _, trial in self.busy.values()):
                    return self.retried
                if not self.busy:
                    time.sleep(_ASK_AGAIN)
                    continue
                timeout = _ASK_AGAIN if status == TrialStatus.IDLE else None
                for ref in self.ray.wait(list(self.busy), num_returns=1, timeout=timeout)[0]:
                    self._take(ref)
        finally:
            for worker in self.workers.values():
                self.ray.kill(worker)

    def _start(self, name: str) -> None:
        self.workers[name], ref = self.start(name)
        self.busy[ref] = (name, None)

    def _hand_out(self) -> str:
        """Give trials to idle workers; return the oracle's last status, or RUNNING if it was not asked."""
        status = TrialStatus.RUNNING
        while self.idle and status == TrialStatus.RUNNING:
            trial = self.again.pop() if self.again else self._next_trial()
            status = TrialStatus.STOPPED if trial is None else trial.status
            if status == TrialStatus.RUNNING:
                name = self.idle.pop()
                self.handed_out += 1
                self.busy[self.workers[name].run.remote(OneTrial(self.oracle, trial))] = (name, trial)
        return status

    def _next_trial(self) -> Trial | None:
        self.begun = self.begun or time.monotonic()
        budget = None if self.search is None else self.search.budget
        if budget is not None and time.monotonic() - self.begun > budget:
            return None
        # Under a name that asked before, the oracle would return the same trial.
        return self.oracle.create_trial(f"ray-{uuid.uuid4().hex}")

    def _take(self, ref: Any) -> None:
        """Take the outcome of a worker's task."""
        name, trial = self.busy.pop(ref)
        try:
            outcome = self.ray.get(ref)
        except self.ray.exceptions.RayTaskError as error:
            raise (error.cause or error) from error
        except self.ray.exceptions.RayError as error:  # the process, its machine, or the way to it
            self._lose(name, trial, error)
            return
        self.idle.append(name)
        self.failed_starts = 0
        if trial is not None:
            self._note(*outcome)

    def _note(self, trial: Trial, report: Any) -> None:
        try:
            if report is not None:
                self.oracle.update_trial(trial.trial_id, report[0], step=report[1])
        except Exception:  # as keras-tuner does
            trial.status, trial.message = TrialStatus.INVALID, traceback.format_exc()
        self._end(trial)

    def _end(self, trial: Trial) -> None:
        if trial.status != TrialStatus.COMPLETED:
            logger.warning("Trial %s failed: %s", trial.trial_id, trial.message)
        self.oracle.end_trial(trial)
        self.tuner.save()
        if self.search is not None and self.search.on_trial_end is not None:
            record = read_trial(SearchFolder(self.tuner.project_dir).trial(trial.trial_id))
            if record is not None:
                self.search.on_trial_end(record)

    def _lose(self, name: str, trial: Trial | None, error: Exception) -> None:
        """Replace a worker that died, and try its trial again or let it fail."""
        self.ray.kill(self.workers[name])  # it may be alive, and only out of reach
        self._start(name)
        if trial is None:
            self.failed_starts += 1
            if self.failed_starts > self.retries:
                message = f"{self.failed_starts} workers in a row died before they could begin: {error}"
                raise RuntimeError(message) from error
            return
        number, tries = trial.trial_id, self.retried.get(trial.trial_id, 0) + 1
        if tries <= self.retries:
            logger.warning("Retry %d of %d of trial %s: %s", tries, self.retries, number, error)
            self.retried[number] = tries
            self.again.append(trial)
            return
        trial.status = TrialStatus.FAILED
        trial.message = f"The worker died in each of {tries} tries. The last time: {error}"
        if self.search is not None:
            values = dict(trial.hyperparameters.values)
            record = TrialRecord(number, values, status="failed", reason=trial.message)
            record.write(SearchFolder(self.tuner.project_dir).trial(number))
        self._end(trial)


# --- before it begins


def _check(workers: int | None, retries: int, arguments: Mapping[str, Any]) -> None:
    for name, number, least in (("workers", workers, 1), ("retries", retries, 0)):
        if number is not None:
            check_integer(name, number, at_least=least)
    if "KERASTUNER_ORACLE_IP" in os.environ:
        raise ValueError(
            "KERASTUNER_ORACLE_IP is set: keras-tuner's own mode with a chief is on, with its own workers. "
            "Call tuner.search there, or unset it."
        )
    for name, value in arguments.items():
        if any(isinstance(leaf, tf.data.Dataset) for leaf in keras.tree.flatten(value)):
            raise TypeError(
                f"{name} is a tf.data.Dataset, which can't be sent to other processes. Give a function that "
                "returns it, such as `lambda: make_dataset(...)`; each worker calls it, without arguments."
            )


def _room(machines: list[dict[str, Any]], needs: Mapping[str, float]) -> int:
    """How many trials the machines of a cluster have room for at once."""
    needs = {name: need for name, need in needs.items() if need > 0}
    has = [{name: m["Resources"].get(name, 0) for name in needs} for m in machines if m["Alive"]]
    room = sum(min(int(m[name] // need) for name, need in needs.items()) for m in has) if needs else 0
    if room < 1:
        raise ValueError(
            f"There is no room for a trial that takes {needs} in a cluster whose machines have {has}. Let it "
            "take what one of them has, or, if others will join, give the number of workers."
        )
    return room


def _unfinished(oracle: keras_tuner.Oracle) -> int:
    """How many trials are still to run, those that were interrupted included."""
    ended = sum(t.status in (TrialStatus.COMPLETED, TrialStatus.FAILED) for t in oracle.trials.values())
    return max(1, oracle.max_trials - ended) if oracle.max_trials else sys.maxsize


def _send(put: Callable[[Any], Any], tuner: keras_tuner.Tuner, *data: Any) -> list[Any]:
    """Put the tuner, without its oracle, and the data where workers find them."""
    sent = copy.copy(tuner)
    sent.oracle = None
    if os.path.isdir(tuner.directory):  # workers have other working directories
        sent.directory = os.path.abspath(tuner.directory)
    try:
        return [put(thing) for thing in (sent, *data)]
    except Exception as error:
        raise TypeError(
            "The tuner with its HyperModel, or an argument of the search, can't be sent to other processes. "
            "Files, locks, generators and distribution strategies can't: make such things in build_model, or "
            f"give a function that returns the data. {error}"
        ) from error
