"""CachedFit: the cache of one running fit, from its first hook to its last."""

from __future__ import annotations

import functools
import logging
import time
from typing import Any

import keras

from kerasft import _keras
from kerasft.cache.cut_plan import CutPlan, FitCuts
from kerasft.cache.cuts import NoCutError
from kerasft.cache.other_callbacks import depth_schedule, looks_between_steps
from kerasft.cache.records import Storage
from kerasft.cache.report import CacheReport
from kerasft.cache.resumed import Resumed
from kerasft.cache.step_function import CachedStepFunction
from kerasft.cache.step_plan import StepPlan, StepSettings
from kerasft.freezing import Flags

logger = logging.getLogger(__name__)


class CachedFit:
    """Divides the model of a running fit, and puts step functions in place of the model's own.

    A function is put there before a call and takes itself out in it: between steps the model has its own, so
    that a fit that is interrupted leaves nothing in it.

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
        shortfall: Why not all that is frozen is covered while something is cached; None if it is.

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
        self._test_has_plan = self._tests = False
        self._flags: Flags | None = None
        self._epoch = 0
        self._has_begun = self._inside_epoch = False
        self._given: dict[int, int] = {}  # batches that the source gave in epochs that came from the record
        self._is_broken = False  # for the rest of the fit
        self.reason: str | None = None
        self.shortfall: str | None = None

    # --- hooks

    def begin_epoch(self, epoch: int, resumed: Resumed | None = None) -> None:
        """Get ready for an epoch; before the first one, record what a run has trained on that is resumed."""
        if not self._has_begun:
            self._has_begun = True
            self._replay(epoch, resumed)
        self._epoch, self._inside_epoch = epoch, True
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
        """Put the training function in place; divide the model again if the step was traced again."""
        if self._is_broken:
            return
        if not self._has_known_function():
            self._arrange()
        if self.reason is None:
            self._train.slot.put(self._train)

    def end_epoch(self) -> None:
        """Learn from an epoch, and report it; once, whoever asks first."""
        if not self._inside_epoch:
            return
        self._inside_epoch = False
        report, train = self._report, self._train
        functions = [train, *([] if self._test is None else [self._test])]
        report.seconds.append(time.perf_counter() - self._begin)
        report.replayed.append(train.replays)
        report.traced_prefixes = sum(function.records.divided.traced_prefixes for function in functions)
        report.derived_records = sum(function.records.recorder.derived_records for function in functions)
        if self._is_broken:
            return
        if (given := train.given) is not None:
            self._given[self._epoch] = given
        train.end_epoch(whole=not self._model.stop_training)
        if self.reason is None:  # tracing may have found what draws
            self._note_shortfall()
        recording = train.records.recorder.recording
        report.samples, report.digest = len(recording), recording.index.digest()
        if self._test is not None and len(self._test.records.recorder.recording):
            report.validation_digest = self._test.records.recorder.recording.index.digest()
        report.kept = report.kept or (
            train.records.recorder.used_saved and not train.records.divided.traced_prefixes
        )
        report.seconds_saved = sum(function.records.seconds_spared for function in functions)
        report.bytes = max(report.bytes, self._store.nbytes)
        report.peak_bytes = self._store.peak_bytes
        report.cut = train.records.divided.cut.name if train.records.divided.is_prepared else report.cut
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
        self._tests = True

    def begin_test_batch(self) -> None:
        """Put the test function in place."""
        if self._tests and self._test is not None:
            self._test.slot.put(self._test)

    def end_test(self) -> None:
        """Learn from a validation."""
        if self._tests and self._test is not None:
            self._tests = False
            self._test.end_epoch(whole=not self._model.stop_evaluating)

    # --- a run that is resumed

    def state(self) -> Resumed:
        """What a run that goes on after this epoch needs to go on in the same order."""
        self.end_epoch()
        recorder = self._train.records.recorder
        reason = self.reason if self._is_broken else None
        return Resumed(recorder.seed, recorder.epochs, self._given, recorder.recording.begun(), reason)

    def _replay(self, epoch: int, resumed: Resumed | None) -> None:
        """Let the epochs pass by that a backup has left out, and record what the run recorded of them."""
        resumed = resumed or Resumed(self._train.records.recorder.seed)
        if epoch > self._fit.first_epoch and (schedule := depth_schedule(self._fit.callbacks)) is not None:
            schedule.begin_run(epoch)  # it may stand after the cache
        coming = epoch if epoch > self._fit.first_epoch else 0  # a backup has moved it since `fit` was called
        pending = _keras.pending_replay(self._fit, coming)
        for function in (self._train, self._test):
            if function is not None:
                function.records.recorder.resume(resumed.seed)
        self._given = dict(resumed.given)
        if resumed.off is not None:
            self.stop(resumed.off, for_good=True)
        elif pending:
            self._arrange()
        spec = _keras.element_spec(self._fit.epoch_iterator)
        for past in pending:
            replay = functools.partial(_keras.pass_epoch, self._fit, past, most=resumed.given.get(past))
            recorder = self._train.records.recorder
            watched = resumed.epochs is None or past in resumed.epochs or recorder.is_closed
            if watched and not (recorder.is_settled or self._is_broken):
                self._train.watch(past, spec, replay, resumed.recorded)
            else:
                replay()
        if pending and resumed.recorded is not None:  # what was missing then is read again, as it was
            self._train.records.recorder.recording.keep_at(resumed.recorded)

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
        self.reason, self.shortfall, self._tests = reason, None, False
        self._take_out()
        if for_good:
            self._is_broken = True
            self._train.forget()
            if self._test is not None:
                self._test.forget()
            self._store.close()

    # --- dividing the model

    def _arrange(self) -> None:
        """Divide the model by its flags as they are."""
        slot = self._train.slot
        slot.take_out(self._train)
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
        self._note_shortfall()

    def _note_shortfall(self) -> None:
        """Find out what is frozen and not covered, and say so once."""
        before, self.shortfall = self.shortfall, self._cuts.shortfall()
        if self.shortfall not in (None, before):
            logger.log(
                logging.INFO if self._quiet else logging.WARNING,
                "PrefixCache does not cover all that is frozen. %s",
                self.shortfall,
            )

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
            goes_on=_keras.goes_on(source),
            ahead=not any(looks_between_steps(other, accumulates) for other in self._fit.callbacks),
            steps=_keras.steps_per_call(self._model),
        )

    def _take_out(self) -> None:
        for function in (self._train, self._test):
            if function is not None:
                function.slot.take_out(function)
