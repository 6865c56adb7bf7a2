"""One trial of a search: how a model with chosen hyperparameters trains, and what it comes to."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import keras_tuner
import numpy as np

from kerasft import _keras
from kerasft.cache import PrefixCache
from kerasft.freezing import BatchNormPolicy, set_depth
from kerasft.learning_rates import layerwise_decay, with_lr_multipliers
from kerasft.search.exported_accuracy import NAME, ExportedAccuracy, holdout_of
from kerasft.search.results import TrialRecord, best_of, read_trials
from kerasft.search.space import Choice
from kerasft.search.trial.checkpoint import read_checkpoint
from kerasft.search.trial.context import TrialRun
from kerasft.search.trial.monitor import TrialWatch, read_state
from kerasft.stages import Stages
from kerasft.typing import Logs
from kerasft.unfreezing import GradualUnfreezing, UnfreezingSchedule, schedule_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialTraining:
    """How a trial trains.

    Attributes:
        run: The trial, as keras-tuner tells of it.
        stages: Those of its compiled model.
        choice: Its hyperparameters.
        before: Checksums of the model's weights as it was built.
        cache: The record of frozen work; None if there is none.
        batch_norm: As in `kerasft.freeze`.
        prune: Whether it is stopped if it could not become the best.
        seed: Of order and dropout.
    """

    run: TrialRun
    stages: Stages
    choice: Choice
    before: Sequence[str]
    cache: PrefixCache | None
    batch_norm: BatchNormPolicy | None
    prune: bool
    seed: int

    def train(self, arguments: dict[str, Any]) -> tuple[Any, TrialRecord]:
        """Train.

        Args:
            arguments: Of `fit`, by name, `epochs` among them.

        Returns:
            What keras-tuner wants to have, and the trial's record.

        Raises:
            FailedTrialError: The loss, or the objective in all epochs, was NaN.
            FatalValueError: The objective is not logged.
        """
        run, model = self.run, self.stages.model
        earlier, schedule = self._begin(arguments)
        depth = self.stages.depth(schedule.phases[-1].depth)
        keras.utils.set_random_seed(self.seed)
        rivals = self._rivals(arguments["epochs"])
        first = self.stages.depth(schedule.phases[0].depth)
        watch = TrialWatch(run.objective, self.before, run.checkpoint, run.best, rivals, first, run.state)
        callbacks: list[Any] = [GradualUnfreezing(schedule, self.batch_norm, self.stages, verify=False)]
        if self.cache is not None:
            callbacks = [_OrderOfRecord(), *callbacks, self.cache]
        built = [v.numpy() for v in model.weights] if isinstance(run.goal, ExportedAccuracy) else []
        history = model.fit(**arguments, callbacks=[*callbacks, *run.callbacks, watch])
        run.note_best(watch.best)
        if all(math.isnan(value) for value in watch.curve):
            raise keras_tuner.errors.FailedTrialError(f"{run.objective.name} was NaN in each epoch.")
        best = watch.curve.index(best_of(watch.curve, run.objective.direction))
        result: Any = history
        score, reason = watch.curve[best], ""
        measured: dict[str, float] = {}
        if isinstance(run.goal, ExportedAccuracy):
            measured, reason = self._measure(run.goal, built, arguments)
            score, result = measured[NAME], {**watch.logs[best], **measured}
        elif run.goal is not run.objective:  # keras-tuner would look for its name
            result = score
        record = TrialRecord(
            trial="" if run.trial is None else str(run.trial.trial_id),
            values={**run.values, **self.choice.to_dict()},
            recipe=self.choice.recipe,
            depth=depth,
            trains_from=self.stages[depth].name,
            status="completed" if watch.stopped is None else "stopped",
            score=score,
            curve=[*(earlier.curve if earlier else []), *watch.curve],
            best_epoch=best + (earlier.epochs if earlier else 0),
            metrics={**watch.logs[best], **measured},
            epochs=len(watch.curve) + (earlier.epochs if earlier else 0),
            replayed=0 if self.cache is None else sum(self.cache.report.replayed),
            resumed_from=earlier.trial if earlier else None,
            reason=watch.stopped or reason,
            schedule=schedule.to_dict(),
        )
        return result, record

    def _begin(self, arguments: dict[str, Any]) -> tuple[TrialRecord | None, UnfreezingSchedule]:
        """Stand at the beginning, or where an earlier trial has ended that this one continues."""
        model, choice, stages = self.stages.model, self.choice, self.stages
        earlier = self.run.continued()
        if choice.decay is not None:
            with_lr_multipliers(model.optimizer, layerwise_decay(stages, choice.decay), model=model)
        _keras.add_step_counts(model.optimizer)
        if earlier is None:
            if arguments.pop("initial_epoch", 0):
                logger.warning("The state of the trial before this one is gone: it begins anew.")
            epochs = arguments["epochs"]
            return None, schedule_of(choice.recipe, stages, choice.depth, epochs, choice.learning_rate)
        record, state = earlier
        schedule = UnfreezingSchedule.from_json(json.dumps(record.schedule))
        set_depth(stages, min(schedule.check(stages)), self.batch_norm)
        model.optimizer.build(model.trainable_variables)
        read_state(state, model)
        return record, schedule

    def _rivals(self, epochs: int) -> list[list[float]] | None:
        """The curves of trials that ran to their end; None if this one is not to be measured by them."""
        run = self.run
        if not self.prune or run.halves or run.goal is not run.objective:
            return None
        records = [] if run.folder is None else read_trials(run.folder.project)
        return [r.curve for r in records if r.status == "completed" and len(r.curve) == epochs]

    def _measure(
        self, goal: ExportedAccuracy, built: Sequence[np.ndarray], arguments: Mapping[str, Any]
    ) -> tuple[dict[str, float], str]:
        """What comes of the best epoch as a file, and why that is bad."""
        model, checkpoint = self.stages.model, self.run.checkpoint
        if checkpoint is not None:
            for variable, value in zip(model.weights, built, strict=True):
                variable.assign(value)  # a checkpoint leaves out what had not changed by then
            read_checkpoint(checkpoint, model)
        x, y = arguments.get("x"), arguments.get("y")
        training = x if y is None else (x, y)
        return goal.measure(model, holdout_of(arguments.get("validation_data")), training)


class _OrderOfRecord(keras.callbacks.Callback):
    """Leaves past epochs' data unread where a trial goes on: records have an order of their own."""

    def on_train_begin(self, logs: Logs = None) -> None:
        fit = _keras.running_fit(self.model)
        if fit is not None and fit.first_epoch:
            _keras.replay_epochs(fit, fit.first_epoch, read=False)
