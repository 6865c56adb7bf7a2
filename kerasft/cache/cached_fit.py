"""CachedFit: the cache of one running fit, from its first hook to its last."""

from __future__ import annotations

import logging
import time
from typing import Any

import keras

from kerasft import _keras
from kerasft.cache.cut_plan import CutPlan, FitCuts
from kerasft.cache.cuts import NoCutError
from kerasft.cache.other_callbacks import looks_between_steps
from kerasft.cache.records import Storage
from kerasft.cache.report import CacheReport
from kerasft.cache.step_function import CachedStepFunction
from kerasft.cache.step_plan import StepPlan, StepSettings
from kerasft.freezing import Flags

logger = logging.getLogger(__name__)


class CachedFit:
    """Divides the model of a running fit, and keeps two step functions in place of the model's own.

    Args:
        model: The model that trains.
        fit: The running fit, its callbacks without the cache's own.
        plan: Which cuts are worth recording.
        store: Where tables are.
        training: The settings of steps that train.
        testing: The settings of steps that validate; None leaves validation to Keras.
        report: What is filled in after each epoch.

    Attributes:
        reason: Why nothing is cached now; None if it is.

    Raises:
        NoCutError: The model can't be divided, whatever is frozen.
    """

    def __init__(
        self,
        model: keras.Model,
        fit: _keras.RunningFit,
        plan: CutPlan,
        store: Storage,
        training: StepSettings,
        testing: StepSettings | None,
        report: CacheReport,
    ) -> None:
        self._model, self._fit, self._store, self._report = model, fit, store, report
        self._quiet = plan.quiet
        self._cuts = FitCuts(plan, model, fit.callbacks)
        self._train = CachedStepFunction(model, training, store, self)
        self._test = None if testing is None else CachedStepFunction(model, testing, store, self)
        self._test_has_plan = False
        self._flags: Flags | None = None
        self._epoch = 0
        self._first_epoch: int | None = None
        self._is_broken = False  # for the rest of the fit
        self.reason: str | None = None

    # --- hooks

    def begin_epoch(self, epoch: int) -> None:
        """Get ready for an epoch."""
        self._epoch = epoch
        if self._first_epoch is None:  # a backup may have moved it since `fit` was called
            self._first_epoch = epoch
        self._begin = time.perf_counter()
        if self._is_broken:
            return
        changed = None if self._flags is None else self._flags.changed()
        if changed and self._has_known_function():
            logger.warning(
                "`trainable` was changed while fit runs, which Keras does not see: %s. It counts from epoch "
                "%d on.",
                changed,
                epoch,
            )
            _keras.apply_trainable_flags(self._model)
        if changed != [] or not self._has_known_function():
            self._arrange()
        self._train.begin_epoch(epoch)

    def begin_batch(self) -> None:
        """Divide the model again if somebody has had the training step traced again."""
        if not self._is_broken and not self._has_known_function():
            self._arrange()

    def end_epoch(self) -> None:
        """Learn from an epoch, and report it."""
        report, train = self._report, self._train
        functions = [train, *([] if self._test is None else [self._test])]
        report.seconds.append(time.perf_counter() - self._begin)
        report.replayed.append(train.replays)
        report.traced_prefixes = sum(function.traced_prefixes for function in functions)
        report.derived_records = sum(function.derived_records for function in functions)
        if self._is_broken:
            return
        train.end_epoch(whole=not self._model.stop_training)
        report.samples, report.digest = train.samples, train.digest
        report.kept = report.kept or train.began_with_saved
        report.seconds_saved = sum(function.seconds_spared for function in functions)
        report.bytes = max(report.bytes, self._store.nbytes)
        report.peak_bytes = self._store.peak_bytes
        report.cut = train.cut_name or report.cut
        report.on_disk = report.on_disk or self._store.nbytes > self._store.bytes_in_memory

    def begin_test(self) -> None:
        """Validate from the record, if that can be done."""
        source = _keras.validation_iterator(self._model)
        if self._test is None or self._flags is None or self.reason is not None or source is None:
            return
        if not self._test_has_plan:
            self._test.retrace(self._step_plan(source))
            self._test_has_plan = True
        self._test.slot.adopt()
        self._test.begin_epoch(self._epoch)
        self._test.slot.put(self._test)

    def end_test(self) -> None:
        """Give the model its own function for tests back."""
        if self._test is not None and self._test.slot.has(self._test):
            self._test.slot.take_out(self._test)
            self._test.end_epoch(whole=not self._model.stop_evaluating)

    def close(self) -> None:
        """Give the model its own functions back, and delete what is not kept."""
        self._take_out()
        self._store.close()

    # --- what the step functions ask

    def is_running(self) -> bool:
        """Whether the `fit` that the cache belongs to is the one that calls."""
        fit = _keras.running_fit(self._model)
        return fit is not None and fit.epoch_iterator is self._fit.epoch_iterator

    def stop(self, reason: str, for_good: bool) -> None:
        """Go on without a record: until the next depth, or for the rest of the fit."""
        reached_by_schedule = self._report.samples and not for_good  # an earlier depth had a cut
        if reason != self.reason:
            level = logging.INFO if self._quiet or reached_by_schedule else logging.WARNING
            logger.log(level, "PrefixCache is off: %s", reason)
        self.reason = reason
        self._take_out()
        if for_good:
            self._is_broken = True
            self._train.forget()
            if self._test is not None:
                self._test.forget()
            self._store.close()

    # --- dividing the model

    def _arrange(self) -> None:
        """Divide the model by its flags as they are, and put the training function in place."""
        slot = self._train.slot
        if not slot.has(self._train):
            slot.adopt()
            self._train.retrace(self._step_plan(self._fit.epoch_iterator))
            self._test_has_plan = False
        self._flags = Flags(self._model)
        try:
            self._cuts.find(self._cuts.nondeterministic)
        except NoCutError as error:
            self.stop(str(error), for_good=False)
            return
        self.reason = None
        slot.put(self._train)

    def _has_known_function(self) -> bool:
        """Whether nobody has had the training step traced again since the model was divided."""
        return self._train.slot.has(self._train) or self._train.slot.has_stock()

    def _step_plan(self, source: Any) -> StepPlan:
        """Collect what has to be known before a step on data of `source` is traced."""
        accumulates = bool(_keras.inner_optimizer(self._model.optimizer).gradient_accumulation_steps)
        return StepPlan(
            cuts=self._cuts,
            repeats=_keras.reads_arrays(source),
            ordered=_keras.keeps_order(source),
            ahead=not any(looks_between_steps(other, accumulates) for other in self._fit.callbacks),
            first_epoch=self._first_epoch or 0,
            steps=_keras.steps_per_call(self._model),
        )

    def _take_out(self) -> None:
        for function in (self._train, self._test):
            if function is not None:
                function.slot.take_out(function)
