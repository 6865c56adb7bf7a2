"""One trial of a search: how a model with chosen hyperparameters trains, and how good it becomes."""

from __future__ import annotations

import functools
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import keras_tuner
import numpy as np

from kerasft import _keras
from kerasft.cache import PrefixCache
from kerasft.freezing import BatchNormPolicy, DropoutPolicy, set_depth
from kerasft.learning_rates import layerwise_decay, with_lr_multipliers
from kerasft.search.exported_accuracy import NAME, ExportedAccuracy, holdout_of
from kerasft.search.results import TrialRecord, best_of, is_unlikely, read_trials
from kerasft.search.space import Choice
from kerasft.search.trial.checkpoint import read_checkpoint
from kerasft.search.trial.context import TrialContext
from kerasft.search.trial.monitor import TrialMonitor, read_state
from kerasft.stages import Stages
from kerasft.typing import Logs
from kerasft.unfreezing import GradualUnfreezing, UnfreezingSchedule, schedule_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialTraining:
    """How a trial trains.

    Attributes:
        context: The trial, as keras-tuner knows it.
        stages: Those of its compiled model.
        choice: Its hyperparameters.
        before: Checksums of the model's weights as it was built.
        cache: The record of frozen work; None if there is none.
        batch_norm: As in `kerasft.freeze`.
        dropout: As in `kerasft.freeze`.
        keep_frozen: As in `kerasft.freeze`.
        prune: Whether it is stopped once it is unlikely to become the best.
        seed: Of order and dropout.
    """

    context: TrialContext
    stages: Stages
    choice: Choice
    before: Sequence[str]
    cache: PrefixCache | None
    batch_norm: BatchNormPolicy | None
    dropout: DropoutPolicy | None
    keep_frozen: Sequence[str]
    prune: bool
    seed: int

    def train(self, arguments: dict[str, Any]) -> tuple[Any, TrialRecord]:
        """Train.

        Args:
            arguments: Of `fit`, by name, `epochs` among them.

        Returns:
            What keras-tuner expects, and the trial's result record.

        Raises:
            FailedTrialError: The loss, or the objective in all epochs, was NaN.
            FatalValueError: The objective is not logged.
        """
        context, model = self.context, self.stages.model
        earlier, schedule = self._begin(arguments)
        keras.utils.set_random_seed(self.seed)
        monitor = TrialMonitor(
            context.objective,
            self.before,
            context.checkpoint,
            context.best,
            is_unlikely=self._pruning(schedule, arguments["epochs"]),
            state=context.state,
        )
        options: dict[str, Any] = {"verify": False, "keep_frozen": self.keep_frozen, "dropout": self.dropout}
        callbacks: list[Any] = [GradualUnfreezing(schedule, self.batch_norm, self.stages, **options)]
        if self.cache is not None:
            callbacks = [_OrderOfRecord(), *callbacks, self.cache]
        built = [v.numpy() for v in model.weights] if isinstance(context.goal, ExportedAccuracy) else []
        history = model.fit(**arguments, callbacks=[*callbacks, *context.callbacks, monitor])
        context.note_best(monitor.best)
        if all(math.isnan(value) for value in monitor.curve):
            raise keras_tuner.errors.FailedTrialError(f"{context.objective.name} was NaN in each epoch.")
        record = self._record(schedule, monitor, earlier)
        if isinstance(context.goal, ExportedAccuracy):
            measured, reason = self._measure(context.goal, built, arguments)
            metrics, reason = {**record.metrics, **measured}, record.reason or reason
            return metrics, replace(record, score=measured[NAME], metrics=metrics, reason=reason)
        # in a History keras-tuner would look for the name of a goal that is not logged
        return (history if context.goal is context.objective else record.score), record

    def _record(
        self, schedule: UnfreezingSchedule, monitor: TrialMonitor, earlier: TrialRecord | None
    ) -> TrialRecord:
        """The result record of a trial that has trained, with the epochs of the trial that it continued."""
        best = monitor.curve.index(best_of(monitor.curve, self.context.objective.direction))
        depth = self.stages.depth(schedule.phases[-1].depth)
        curve, epochs = ([], 0) if earlier is None else (earlier.curve, earlier.epochs)
        depths = [] if earlier is None else earlier.depths
        return TrialRecord(
            trial=self.context.number,
            values={**self.context.values, **self.choice.to_dict()},
            recipe=self.choice.recipe,
            depth=depth,
            trains_from=self.stages[depth].name,
            status="completed" if monitor.stopped is None else "stopped",
            score=monitor.curve[best],
            curve=[*curve, *monitor.curve],
            best_epoch=best + epochs,
            metrics=monitor.logs[best],
            epochs=len(monitor.curve) + epochs,
            replayed=0 if self.cache is None else sum(self.cache.report.replayed),
            resumed_from=None if earlier is None else earlier.trial,
            reason=monitor.stopped or "",
            schedule=schedule.to_dict(),
            depths=[*depths, *monitor.depths],
        )

    def _begin(self, arguments: dict[str, Any]) -> tuple[TrialRecord | None, UnfreezingSchedule]:
        """Prepare the model for a first epoch, or restore the earlier trial that this one continues."""
        model, choice, stages = self.stages.model, self.choice, self.stages
        earlier = self.context.continued()
        if choice.decay is not None:
            with_lr_multipliers(model.optimizer, layerwise_decay(stages, choice.decay), model=model)
        _keras.add_step_counts(model.optimizer)
        if earlier is None:
            if arguments.pop("initial_epoch", 0):
                logger.warning("The state of the trial before this one is gone: it begins from scratch.")
            epochs = arguments["epochs"]
            return None, schedule_of(choice.recipe, stages, choice.depth, epochs, choice.learning_rate)
        record, state = earlier
        schedule = UnfreezingSchedule.from_json(json.dumps(record.schedule))
        set_depth(stages, min(schedule.check(stages)), self.batch_norm, self.dropout)
        model.optimizer.build(model.trainable_variables)
        read_state(state, model)
        return record, schedule

    def _pruning(
        self, schedule: UnfreezingSchedule, epochs: int
    ) -> Callable[[list[float], list[int]], bool] | None:
        """What says that this trial is unlikely to win; None if it is not to be measured by others."""
        context, starts = self.context, schedule.starts[1:]
        if not self.prune or context.is_hyperband or context.goal is not context.objective:
            return None
        records = [] if context.folder is None else read_trials(context.folder.project)
        ended = [r for r in records if r.status == "completed" and len(r.curve) == epochs]
        thaws = [start for start in starts if start is not None and start < epochs]
        rest = {"others": ended, "direction": context.objective.direction}
        return functools.partial(is_unlikely, thaws=thaws, recipe=self.choice.recipe, **rest)

    def _measure(
        self, goal: ExportedAccuracy, built: Sequence[np.ndarray], arguments: Mapping[str, Any]
    ) -> tuple[dict[str, float], str]:
        """Measure the exported file of the best epoch, and say why its accuracy is 0, or ""."""
        model, checkpoint = self.stages.model, self.context.checkpoint
        if checkpoint is not None:
            for variable, value in zip(model.weights, built, strict=True):
                variable.assign(value)  # a checkpoint leaves out what had not changed by then
            read_checkpoint(checkpoint, model)
        x, y = arguments.get("x"), arguments.get("y")
        training = x if y is None else (x, y)
        return goal.measure(model, holdout_of(arguments.get("validation_data")), training)


class _OrderOfRecord(keras.callbacks.Callback):
    """Leaves past epochs' data unread where a trial continues: records have an order of their own."""

    def on_train_begin(self, logs: Logs = None) -> None:
        fit = _keras.running_fit(self.model)
        if fit is not None and fit.first_epoch:
            _keras.replay_epochs(fit, fit.first_epoch, read=False)
