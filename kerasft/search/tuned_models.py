"""What a search has found, in the process that searched and in any later one: trials, models, schedules."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
from keras_tuner import HyperParameters, Oracle, Tuner

from kerasft.freezing import BatchNormPolicy, DropoutPolicy
from kerasft.search.find_tuner import tuner_of
from kerasft.search.loss import Guess, read_guess
from kerasft.search.preflight import Preflight
from kerasft.search.process_state import ProcessState, flags_as_built
from kerasft.search.results import (
    SearchFolder,
    TrialRecord,
    Trials,
    ranked,
    read_trials,
    trial_order,
    write_report,
)
from kerasft.search.search_call import trains_as_asked
from kerasft.search.space import Choice, SearchSpace
from kerasft.search.trial import TrialContext, without_checkpoint_loading
from kerasft.stages import Stages, find_stages
from kerasft.unfreezing import GradualUnfreezing, UnfreezingSchedule, schedule_of

EPOCHS = 5  # of a trial, where nobody says


class TunedModels:
    """The part of `FreezeDepthSearch` that reads what its trials have left in the tuner's folder.

    Attributes:
        tuner: The tuner that searched last in this process; None if none has been used yet.
    """

    tuner: Tuner | None = None
    space: SearchSpace
    batch_norm: BatchNormPolicy | None
    frozen_dropout: DropoutPolicy | None
    keep_frozen: Sequence[str]
    _guess: Guess | None
    _preflight: Preflight
    _process: ProcessState
    _model_and_stages: Callable[[HyperParameters], tuple[keras.Model, Stages]]
    _prepare: Callable[[HyperParameters, keras.Model, dict[str, Any], TrialContext], tuple[Stages, Choice]]
    _share: Callable[[Stages, dict[str, Any], TrialContext], Any]

    def attach(self, tuner: Tuner) -> None:
        """Make a tuner the one whose trials `results`, `write_report` and `best_model` take by default.

        A tuner that keras-tuner has reloaded holds its trials in the order of the file system, by which it
        chooses among equal ones; they are put into the order of their numbers, by which kerasft does.

        Args:
            tuner: A tuner with this search.
        """
        self.tuner = tuner
        trials = getattr(tuner.oracle, "trials", None)
        if isinstance(trials, dict) and list(trials) != (order := sorted(trials, key=trial_order)):
            tuner.oracle.trials = {trial: trials[trial] for trial in order}

    def see_search(self, tuner: Tuner, search: Callable[[], None], *args: Any, **kwargs: Any) -> None:
        """Run `tuner.search`; if no trial was left to train, check that those that are there are its own.

        Args:
            tuner: A tuner with this search.
            search: Runs the search.
            *args, **kwargs: What `tuner.search` was called with.

        Raises:
            FatalValueError: All trials have ended, and they are those of another search.
        """
        self._preflight.begin_search()
        fits = self._process.fits
        search()
        if self._process.fits == fits:
            self.check_ended(tuner, *args, **kwargs)

    def check_ended(self, tuner: Tuner, *args: Any, **kwargs: Any) -> None:
        """Do with a search whose trials have all ended what a further trial would do before it trains.

        Args:
            tuner: A tuner with this search.
            *args, **kwargs: What `tuner.search` was called with.

        Raises:
            FatalValueError: The trials are those of another search.
        """
        if not isinstance(tuner.oracle, Oracle) or not trains_as_asked(tuner):
            return  # a worker, or a tuner that trains with other arguments than those it got
        folder = SearchFolder(tuner.project_dir)
        scored, trials = ranked(read_trials(folder.project), "max"), tuner.oracle.trials
        if not scored or scored[0].trial not in trials:
            return
        self.attach(tuner)
        trial = trials[scored[0].trial]
        arguments = fit_arguments(*args, **kwargs)
        given = [*(arguments.pop("callbacks", None) or []), SimpleNamespace(tuner=tuner, trial=trial)]
        context = TrialContext.of(given, arguments)
        model = tuner.hypermodel.build(trial.hyperparameters)
        if tuner.loss is not None:  # which keras-tuner puts in the place of the model's
            model.compile(tuner.optimizer or model.optimizer, tuner.loss, metrics=tuner.metrics)
        flags_as_built(without_checkpoint_loading(model))
        stages, _ = self._prepare(trial.hyperparameters, model, arguments, context)
        if folder.identity().get("content of the data set"):  # or there is nothing to compare
            self._share(stages, arguments, context)

    def results(self, tuner: Tuner | None = None) -> list[TrialRecord]:
        """The trials that have ended, failed ones included, in the order of their numbers.

        A notebook shows the list as a table, the best first.

        Args:
            tuner: The tuner; None: the one in this process.

        Raises:
            ValueError: There is none, or several.
        """
        tuner, records = self._trials_of(tuner)
        return Trials(records, tuner.oracle.objective.direction)

    def write_report(self, folder: str | os.PathLike[str], tuner: Tuner | None = None) -> list[Path]:
        """Write a report of the trials.

        Args:
            folder: Where `trials.csv` goes (a row for each trial), `trials.json` (curves as well),
                `trials.png` (score and time against freeze depth; left out without matplotlib), and
                `tensorboard/` for TensorBoard's HParams tab. Those of an earlier report are replaced.
            tuner: The tuner; None: the one in this process.

        Returns:
            The files, and the folder for TensorBoard.

        Raises:
            ValueError: There is no tuner, or no trial has a score yet.
        """
        tuner, records = self._trials_of(tuner, scored=True)
        return write_report(records, tuner.oracle.objective.name, Path(folder))

    def best_model(self, tuner: Tuner | None = None) -> keras.Model:
        """The model of the best trial at its best epoch, whole, with all its layers thawed as it was built.

        It is there in later processes as well; of equal trials it is that of the earliest.

        Args:
            tuner: The tuner; None: the one in this process.

        Returns:
            A compiled model, which evaluates to the trial's score.

        Raises:
            ValueError: There is no tuner with this search in this process, or no trial has a score yet.
        """
        tuner, records = self._trials_of(tuner, scored=True)
        self._guess = read_guess(SearchFolder(tuner.project_dir).shared)
        best = ranked(records, tuner.oracle.objective.direction)[0]
        model = without_checkpoint_loading(tuner.load_model(tuner.oracle.get_trial(best.trial)))
        flags_as_built(model)
        model.optimizer.build(model.trainable_variables)  # so that a file of it is whole
        return model

    def callbacks(self, hp: HyperParameters, epochs: int | None = None) -> list[keras.callbacks.Callback]:
        """What trains a model of `build(hp)` in plain `fit` by the recipe of a trial with `hp`.

        Args:
            hp: Hyperparameters, say of `tuner.get_best_hyperparameters()`. Their model is built if `build`
                has not just done so, which sets the random seeds.
            epochs: How many `fit` will run; None: as many as a trial of the search, or 5.

        Returns:
            A `GradualUnfreezing` for the trial's schedule.

        Raises:
            ValueError: The model has no stages, or not a depth that was asked for.

        Example:
            ```python
            best = tuner.get_best_hyperparameters()[0]
            model = tuner.hypermodel.build(best)
            model.fit(x, y, epochs=10, callbacks=search.callbacks(best, epochs=10))
            ```
        """
        model = self._process.built_with(hp.values)
        stages = self._model_and_stages(hp)[1] if model is None else find_stages(model)
        choice = self.space.choose(hp, stages.model, stages)
        schedule = self._schedule(choice, stages, epochs or self._epochs(hp))
        if choice.learning_rate is not None:  # the optimizer has that of the last phase
            rates = [choice.learning_rate if p.learning_rate is None else p.learning_rate for p in schedule]
            phases = [replace(p, learning_rate=rate) for p, rate in zip(schedule, rates, strict=True)]
            schedule = UnfreezingSchedule(phases)
        kept, dropout = self.keep_frozen, self.frozen_dropout
        return [GradualUnfreezing(schedule, self.batch_norm, keep_frozen=kept, dropout=dropout)]

    @staticmethod
    def _schedule(choice: Choice, stages: Stages, epochs: int) -> UnfreezingSchedule:
        return schedule_of(choice.recipe, stages, choice.depth, epochs, choice.learning_rate)

    def _epochs(self, hp: HyperParameters) -> int:
        """How many epochs a trial with these hyperparameters has."""
        if "tuner/epochs" in hp.values:
            return int(hp.values["tuner/epochs"])
        tuner = self.tuner or tuner_of(self)
        noted = {} if tuner is None else SearchFolder(tuner.project_dir).identity()
        return int(noted.get("number of epochs", EPOCHS))

    def _known_guess(self) -> Guess | None:
        """The loss that this process or an earlier one has found for models that are not compiled."""
        if self._guess is None and (tuner := self.tuner or tuner_of(self)) is not None:
            self._guess = read_guess(SearchFolder(tuner.project_dir).shared)
        return self._guess

    def _trials_of(self, tuner: Tuner | None, scored: bool = False) -> tuple[Tuner, list[TrialRecord]]:
        """The tuner, and its trials that have ended; with `scored` one of them has a score."""
        tuner = tuner or self.tuner or tuner_of(self)
        if tuner is None:
            raise ValueError(
                "No search has run in this process, and not exactly one tuner in it has this "
                f"{type(self).__name__}. Make the tuner as it was, and name it: best_model(tuner)."
            )
        self.attach(tuner)
        folder = SearchFolder(tuner.project_dir)
        if records := read_trials(folder.project):  # without a trial left to run, the search has not looked
            self._preflight.check_folder(folder)
        if scored and not ranked(records, "max"):
            raise ValueError(f"No trial in {tuner.project_dir} has a score yet. Run search() first.")
        return tuner, records


def fit_arguments(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """The arguments of a call of `keras.Model.fit`, by name.

    Raises:
        TypeError: It would not take them.
    """
    arguments = dict(inspect.signature(keras.Model.fit).bind(None, *args, **kwargs).arguments)
    del arguments["self"]
    return arguments
