"""The process in which a Ray cluster runs trials, one after another, and its stand-in for the oracle."""

from __future__ import annotations

import functools
import inspect
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

import keras_tuner
import tensorflow as tf
from keras_tuner.engine.trial import Trial, TrialStatus

from kerasft.search.hypermodel import FreezeDepthSearch

_DATA = ("x", "y", "sample_weight", "validation_data")


class OneTrial:
    """The stand-in for the oracle in a worker: hands out one trial, and keeps its outcome.

    It has no `ongoing_trials`, so that its trial is not taken for the only one that runs.
    """

    def __init__(self, oracle: keras_tuner.Oracle, trial: Trial) -> None:
        self.objective, self.max_trials = oracle.objective, oracle.max_trials
        self.max_consecutive_failed_trials = oracle.max_consecutive_failed_trials
        self.trials = dict(oracle.trials)
        self.trial, self.handed_out = trial, False
        self.report: tuple[dict[str, float], int] | None = None

    def create_trial(self, tuner_id: str) -> Trial:
        if self.handed_out:
            return Trial(keras_tuner.HyperParameters(), self.trial.trial_id, TrialStatus.STOPPED)
        self.handed_out = True
        return self.trial

    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> Trial:
        self.report = dict(metrics), step
        return self.trial

    def end_trial(self, trial: Trial) -> None:
        self.trial = trial

    def get_trial(self, trial_id: str) -> Trial:
        return self.trials[trial_id]

    def save(self) -> None:
        """Only the process that searches writes the oracle's files."""


class Worker:
    """A process that runs trials, one after another."""

    def __init__(self, threads: int) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)  # before anything that is sent uses it

    def prepare(self, name: str, tuner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Take the tuner and the data that were sent."""
        if not tf.io.gfile.exists(os.path.join(tuner.project_dir, "oracle.json")):
            raise keras_tuner.errors.FatalValueError(
                f"A worker on {socket.gethostname()} finds no oracle.json in {tuner.project_dir}, where the "
                "search has one. The tuner's `directory` must be a folder that all machines share."
            )
        tuner.tuner_id = name  # and so of the file that it writes about itself
        if isinstance(tuner.hypermodel, FreezeDepthSearch):
            tuner.hypermodel.become_worker()
        self.tuner, (self.args, self.kwargs) = tuner, with_data(args, kwargs)

    def run(self, oracle: OneTrial) -> tuple[Trial, Any]:
        """Run one trial; return it as it ended, and what it reported."""
        self.tuner.oracle = oracle
        self.tuner.search(*self.args, **self.kwargs)
        return oracle.trial, oracle.report


def with_data(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a search, with what its functions return in their place."""
    return [_called(v) for v in args], {k: _called(v) if k in _DATA else v for k, v in kwargs.items()}


def _called(value: Any) -> Any:
    return value() if inspect.isroutine(value) or isinstance(value, functools.partial) else value
