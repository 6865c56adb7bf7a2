"""The phases of a schedule in one `fit`: which one runs, what it has set, and how it ends."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kerasft import _keras
from kerasft.freezing import BatchNormPolicy, DropoutPolicy, Flags, set_depth
from kerasft.stages import Stages
from kerasft.unfreezing import checks
from kerasft.unfreezing.best_epoch import BestEpoch
from kerasft.unfreezing.best_of_all import BestOfAll
from kerasft.unfreezing.frozen_check import FrozenCheck
from kerasft.unfreezing.patient_callbacks import PatientCallbacks
from kerasft.unfreezing.phase import Phase
from kerasft.unfreezing.phase_clock import PhaseClock
from kerasft.unfreezing.phase_rates import PhaseRates
from kerasft.unfreezing.phase_report import PhaseReport
from kerasft.unfreezing.run_state import RunState, resume, run_identity
from kerasft.unfreezing.schedule import UnfreezingSchedule

logger = logging.getLogger(__name__)


class PhaseRun:
    """The phases of a schedule in one `fit` of a model.

    Args:
        model: The compiled model that trains.
        stages: Its stages.
        schedule: The schedule.
        epochs: How many epochs `fit` runs; None if that is not known.
        fit: The `fit`; None if it was not found.
        policies: Those for BatchNormalization and for random numbers in frozen stages.
        auto_rates: Whether learning-rate factors are measured over each epoch.
        verify: Whether frozen weights are compared, and phases reported on.
        keep_frozen: As in `kerasft.freeze`.
        everything: As in `kerasft.freeze`.
        restart_callbacks: Whether the fit's EarlyStopping and ReduceLROnPlateau begin anew with each phase.
        best_of_all: Monitor and mode by which the fit goes back to the best epoch of all phases at its end;
            None if it does not.

    Attributes:
        depths: The freeze depth of each phase.
        clock: Which phase runs, and how well it goes.
        begun: The phase whose flags are set; None before the first epoch.
        waits: Whether a phase waits for a window of accumulated gradients to be complete.
        inside_epoch: Whether an epoch has begun and is not over.
        frozen: What compares the frozen weights of the phase; None if that is switched off.
        rates: What sets learning rates.
        report: One report for each phase that is over.

    Raises:
        ValueError: The schedule does not fit the model, its optimizer or the number of epochs, or a phase
            trains nothing.
    """

    def __init__(
        self,
        model: keras.Model,
        stages: Stages,
        schedule: UnfreezingSchedule,
        epochs: int | None,
        fit: _keras.RunningFit | None,
        *,
        batch_norm: BatchNormPolicy | None,
        dropout: DropoutPolicy | None,
        auto_rates: bool,
        verify: bool,
        keep_frozen: Sequence[str],
        everything: bool,
        restart_callbacks: bool,
        best_of_all: Phase | None,
    ) -> None:
        self.model, self.stages, self.schedule, self.fit = model, stages, schedule, fit
        self.policies: tuple[BatchNormPolicy | None, DropoutPolicy | None] = batch_norm, dropout
        self.verify = verify
        self.depths = schedule.check(stages, epochs)
        self.clock = PhaseClock(schedule)
        self.begun: int | None = None
        self.waits = self.inside_epoch = False
        self.frozen: FrozenCheck | None = None
        self.report: list[PhaseReport] = []
        self._first_epoch = self._epochs_done = self._phase_start = 0
        self._flags: Flags | None = None
        self.rates = PhaseRates(model, stages, schedule, auto_rates)
        checks.check_rates(schedule, self._optimizer, () if fit is None else fit.callbacks)
        self._best = BestEpoch(model, stages)
        self._overall = None if best_of_all is None else BestOfAll(model, stages, best_of_all)
        if fit is not None:
            _keras.after_train_begin(fit, self._end_what_is_over)
        self._patient = PatientCallbacks(model, stages, fit if restart_callbacks else None, self._stop_phase)
        self._prepare(checks.declared(stages, self.depths, keep_frozen, everything))

    def _prepare(self, kept: Any) -> None:
        """Give the optimizer slots for all that will train."""
        stages = self.stages
        set_depth(stages, min(self.depths), *self.policies)
        _keras.add_step_counts(self.model.optimizer)
        batch_norm, dropout = self.policies
        arguments = self.schedule, batch_norm, stages, kept, self._optimizer, self.rates.multipliers
        self._identity = run_identity(*arguments, dropout)
        self._found_before = RunState.from_arrays(self._optimizer.loaded())
        _keras.apply_trainable_flags(self.model, list(self.model.trainable_variables))
        # where a run that is resumed after its last epoch stands
        set_depth(stages, self.depths[-1], *self.policies)
        self._optimizer.attach(self._state)
        self.rates.begin()

    @property
    def freeze_depth(self) -> int:
        """The freeze depth in force."""
        return self.depths[self.begun or 0]

    @property
    def trainable_params(self) -> int:
        """How many scalars train now."""
        return sum(int(v.value.shape.num_elements()) for v in self.model.trainable_variables)

    @property
    def _optimizer(self) -> Any:
        return _keras.inner_optimizer(self.model.optimizer)

    def _end_what_is_over(self) -> None:
        """Let a fit train nothing that is resumed after the end of its last phase."""
        found = RunState.from_arrays(self._optimizer.loaded())
        if found is None or self.fit is None or found.inside_epoch:
            return
        found.check_identity(self._identity)
        clock = PhaseClock.from_dict(self.schedule, found.clock)
        if clock.ended and clock.is_last:
            logger.info("The schedule was over after epoch %d: there is nothing to train.", found.epoch - 1)
            _keras.start_at(self.model, max(found.epoch, self.fit.epochs))

    def begin_run(self, epoch: int) -> None:
        """Stand where the run stands that begins at `epoch`, if that is not done yet."""
        if self.begun is None:
            self._start(epoch)

    def begin_epoch(self, epoch: int) -> None:
        """Begin the phase that `epoch` belongs to, if it is not the one running."""
        self.begin_run(epoch)
        self.inside_epoch = True
        checks.check_flags(self._flags, f"before epoch {epoch}")
        if self.clock.ended and not self.clock.is_last:
            if self.waits and not self._optimizer.at_window_boundary():
                checks.warn_of_dropped_window(self.model)
                self._optimizer.drop_window()
            self.waits = True
            self.switch_at_boundary()

    def end_epoch(self, epoch: int, logs: dict[str, Any]) -> None:
        """Check what must not have changed, and count the epoch."""
        if epoch == self._first_epoch:
            checks.check_monitors(self.schedule.phases, logs)
            self.clock.schedule = checks.with_directions(self.schedule, self.model)
            if self._overall is not None:
                self._overall.check(logs)
        checks.check_flags(self._flags, f"in epoch {epoch}")
        if self.frozen is not None:
            self.frozen.check(f"in epoch {epoch}")
        self.rates.end_epoch(self.clock.index)
        if self.clock.observe(epoch, logs) and self.clock.phase.restore_best:
            self._best.keep()
        if self._overall is not None:
            self._overall.observe(epoch, logs)
        self._epochs_done, self.inside_epoch = epoch + 1, False

    def switch_at_boundary(self) -> None:
        """Begin the next phase if no gradients have been accumulated since the last step."""
        if self._optimizer.at_window_boundary():
            self.waits = False
            self._end_phase()
            self.clock.advance()
            self._begin_phase(fresh=True)

    def _stop_phase(self) -> bool:
        """End the phase before its time, and return whether another one follows."""
        self.clock.stopped = True
        return not self.clock.is_last

    def finish(self) -> None:
        """End the last phase, and let go of the optimizer."""
        state = RunState.from_arrays(self._optimizer.loaded())
        if self.begun is None and state is not None:
            self._start(state.epoch)  # resumed after the last epoch
        if self.begun is not None:
            self._end_phase()
            if self._overall is not None:
                self._overall.restore()
            if getattr(self._optimizer, "use_ema", False):  # `fit` has done so before the best came back
                self.model.optimizer.finalize_variable_values(self.model.trainable_weights)
            checks.warn_of_phases_without_epochs(self.schedule, self.begun, self.model.stop_training)
        self._patient.finish()
        if self.fit is not None:
            _keras.start_at(self.model, None)
            _keras.replace_callbacks(self.fit, self.fit.callbacks)
        self.rates.end()
        self._optimizer.attach(None)
        self.fit = None  # its data are let go

    def _start(self, epoch: int) -> None:
        """Stand where the run stands: at its beginning, or where it was interrupted."""
        self._first_epoch = self._epochs_done = epoch
        found = RunState.from_arrays(self._optimizer.loaded())
        before = self._found_before if epoch > 0 else None
        if found is None and before is not None and before.epoch == epoch:
            found = before
        if found is None:
            self.clock.move_to(epoch)
        else:
            resume(self.model, self.fit, found, self._identity, epoch)
            self.clock = PhaseClock.from_dict(self.schedule, found.clock)
            self.rates.measured, self._best.arrays = found.rates, found.best
            if self._overall is not None:
                self._overall.resume(found.overall_clock, found.overall)
            logger.info("Resumed at epoch %d, in phase %d.", epoch, self.clock.index)
        self._begin_phase(fresh=found is None)
        if found is not None:
            self._patient.resume(found.counts, found.kept)

    def _begin_phase(self, fresh: bool) -> None:
        """Set flags, rates and factors; `fresh` tells a phase that begins from one that is resumed."""
        index = self.clock.index
        depth = self.depths[index]
        same_depth = self.begun is not None and depth == self.freeze_depth
        if not same_depth:
            set_depth(self.stages, depth, *self.policies)
            self._optimizer.settle_frozen_averages()
        self._flags = Flags(self.model)
        retrace = self.rates.begin_phase(index, fresh)
        if not same_depth or retrace:
            _keras.apply_trainable_flags(self.model)
        if fresh and self.begun is not None:
            self._patient.begin_phase()
        self.begun, self._phase_start = index, self._epochs_done
        self.frozen = FrozenCheck(self.stages) if self.verify else None
        place = self._epochs_done, index, depth, len(self.stages), f"{self.trainable_params:,}"
        logger.info("Epoch %d, phase %d: freeze depth %d of %d, %s parameters train.", *place)

    def _end_phase(self) -> None:
        """Go back to the phase's best epoch, and report."""
        if self._best.restore():
            best = self.clock.best_epoch
            self._patient.forget()
        else:
            best = self._patient.restore_best()
        if self.frozen is not None and self.begun is not None and self._epochs_done > self._phase_start:
            epochs = (self._phase_start, self._epochs_done - 1)
            self.frozen.check(f"in phase {self.begun}")
            place = self.begun, self.freeze_depth, epochs, best
            self.report.append(self.frozen.report(self._optimizer, *place))

    def _state(self) -> dict[str, np.ndarray]:
        """The state that is saved with the optimizer."""
        place = self._epochs_done, self.inside_epoch, self.clock.to_dict()
        random, lora = _keras.random_state(self.model), _keras.lora_values(self.model)
        return RunState(
            *(*place, self.rates.measured, random, self._identity, self._best.arrays, lora),
            counts=self._patient.to_dict(),
            kept=self._patient.arrays(),
            overall_clock=None if self._overall is None else self._overall.to_dict(),
            overall={} if self._overall is None else self._overall.arrays(),
        ).to_arrays()
