"""GradualUnfreezing: a Keras callback that walks a schedule of freeze depths inside one `fit`."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from kerasft import _keras
from kerasft.freezing import BatchNormPolicy, Flags, check_batch_norm, check_keep_frozen, set_depth
from kerasft.learning_rates import Multipliers, resolve_multipliers
from kerasft.stages import Stages, find_stages
from kerasft.typing import Logs
from kerasft.unfreezing import checks
from kerasft.unfreezing.auto_rgn import measured_factors, with_own_paths
from kerasft.unfreezing.best_epoch import BestEpoch
from kerasft.unfreezing.frozen_check import FrozenCheck
from kerasft.unfreezing.phase import Phase
from kerasft.unfreezing.phase_clock import PhaseClock
from kerasft.unfreezing.phase_report import PhaseReport
from kerasft.unfreezing.run_state import RunState, resume, run_identity
from kerasft.unfreezing.schedule import UnfreezingSchedule, as_schedule

logger = logging.getLogger(__name__)


def _on_trained_weights(hook: Callable[..., None]) -> Callable[..., None]:
    """Let a hook find the weights that train in the model, if a callback has put averages in their place."""

    @functools.wraps(hook)
    def wrapped(self: GradualUnfreezing, epoch: int, logs: Logs = None) -> None:
        callbacks = () if self._fit is None else self._fit.callbacks
        with _keras.trained_weights(self.model, callbacks):
            hook(self, epoch, logs)

    return wrapped


class GradualUnfreezing(keras.callbacks.Callback):
    """Thaw a model phase by phase while it trains, without compiling again.

    Before the first epoch the optimizer is given slots for everything that the schedule will train;
    at the start of each phase the flags are set and the training step is traced again. The optimizer keeps
    its moments from phase to phase, and each variable counts its own steps from its thaw on. With gradient
    accumulation, a phase begins when a window of accumulated gradients is complete.

    After each epoch, frozen weights are compared with what they were, to the bit, and the flags with what
    was set. `logs` gain `freeze_depth` and `trainable_params`. Put this callback before those that read the
    logs or save (CSVLogger, TensorBoard, BackupAndRestore); History sees them wherever it stands.

    Where a run stands in its schedule is saved with the optimizer's state, so that a run goes on from what
    `kerasft.BackupAndRestore` or Keras's own `BackupAndRestore` has saved as if it had not stopped.

    Args:
        schedule: An `UnfreezingSchedule`, or a sequence of `Phase`.
        batch_norm: Policy for BatchNormalization in thawed stages, as in `kerasft.freeze`.
        stages: The stages of the model (or the model); needed for subclassed models, found by `find_stages`
            otherwise.
        auto_rates: Multiply each stage's learning rate by its relative gradient norm (Auto-RGN), measured
            over each epoch for the next one; the first epoch of a phase trains at the base rates.
        verify: Whether to compare frozen weights after each epoch, and to report on each phase. It costs a
            hash of the frozen weights an epoch, and a copy of those that train.
        keep_frozen: What stays frozen in every phase besides what you froze for good, as in `kerasft.freeze`.
        everything: Whether to forget what you froze yourself, as in `kerasft.freeze`.

    Attributes:
        schedule: The schedule.
        stages: The stages of the model that trains; None before `fit` begins, unless they were given.
        batch_norm: The policy for BatchNormalization.
        report: One `PhaseReport` for each phase that is over: rates, changes and steps of each stage.
        acts_at_window_boundaries: Whether, between two steps of an epoch, the callback acts only at the
            boundary of a window of accumulated gradients: without accumulation it acts between epochs alone.

    Raises:
        TypeError, ValueError: An argument is wrong. When `fit` begins: the schedule does not fit the model or
            the number of epochs, or a phase trains nothing. After the first epoch: it watches what is not
            logged.
        RuntimeError: A frozen weight moved, or someone else changed `trainable` flags.

    Example:
        >>> schedule = UnfreezingSchedule([Phase("head", epochs=2), Phase(0)])
        >>> callback = GradualUnfreezing(schedule)

    References:
        Howard & Ruder (2018), arXiv:1801.06146, section 3.3; Lee et al. (2023), arXiv:2210.11466, section 4.
    """

    acts_at_window_boundaries: bool = True

    _stages: Stages  # these three are those of the fit that runs
    _best: BestEpoch
    _identity: dict[str, Any]

    def __init__(
        self,
        schedule: UnfreezingSchedule | Sequence[Phase],
        batch_norm: BatchNormPolicy | None = None,
        stages: keras.Model | Stages | None = None,
        auto_rates: bool = False,
        verify: bool = True,
        keep_frozen: Sequence[str] = (),
        everything: bool = False,
    ) -> None:
        super().__init__()
        check_batch_norm(batch_norm)
        check_keep_frozen(keep_frozen)
        self.schedule = as_schedule(schedule)
        self.batch_norm: BatchNormPolicy | None = batch_norm
        self.stages = None if stages is None else find_stages(stages)
        self.auto_rates = auto_rates
        self.verify = verify
        self.keep_frozen, self.everything = tuple(keep_frozen), everything
        self._given = stages is not None
        self._reset()

    def _reset(self) -> None:
        self.report: list[PhaseReport] = []
        self._clock = PhaseClock(self.schedule)
        self._begun: int | None = None  # the phase whose flags are set
        self._first_epoch = 0
        self._epochs_done = 0
        self._inside_epoch = False
        self._waits = False  # for a window of accumulated gradients
        self._depths: list[int] = []
        self._rates: dict[str, float] | None = None  # factors that were measured
        self._flags: Flags | None = None
        self._frozen: FrozenCheck | None = None

    def on_train_begin(self, logs: Logs = None) -> None:
        """Hold the schedule against the model, and prepare the optimizer for all that will train."""
        self._reset()
        if not self._given or self.stages is None:
            self.stages = find_stages(self.model)
        self._stages = stages = self.stages
        checks.check_stages(stages, self.model)
        self._depths = self.schedule.check(stages, self.params.get("epochs"))
        self._multipliers = [
            None if phase.multipliers is None else resolve_multipliers(stages, phase.multipliers)
            for phase in self.schedule
        ]
        checks.check_rates(self.schedule, self._optimizer)
        self._fit = _keras.running_fit(self.model)
        checks.check_callbacks([] if self._fit is None else self._fit.callbacks, self, GradualUnfreezing)
        self._best = BestEpoch(self.model, stages)
        kept = checks.declared(stages, self._depths, self.keep_frozen, self.everything)
        set_depth(stages, min(self._depths), self.batch_norm)
        _keras.add_step_counts(self.model.optimizer)
        arguments = self.schedule, self.batch_norm, stages, kept, self._optimizer, self._multipliers
        self._identity = run_identity(*arguments)
        self._found_before = RunState.from_arrays(self._optimizer.loaded())
        _keras.apply_trainable_flags(self.model, list(self.model.trainable_variables))
        # where a run that is resumed after its last epoch stands
        set_depth(stages, self._depths[-1], self.batch_norm)
        self._optimizer.attach(self._state)
        self._optimizer.measure_gradients(self.auto_rates)

    @_on_trained_weights
    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Begin the phase that `epoch` belongs to, if it is not the one running."""
        self.begin_run(epoch)
        self._inside_epoch = True
        checks.check_flags(self._flags, f"before epoch {epoch}")
        if self._clock.ended and not self._clock.is_last:
            if self._waits and not self._optimizer.at_window_boundary():
                checks.warn_of_dropped_window(self.model)
                self._optimizer.drop_window()
            self._waits = True
            self._switch_at_boundary()

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Begin a phase that waits for a window of accumulated gradients to be complete."""
        if self._waits:
            self._switch_at_boundary()

    @_on_trained_weights
    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Check what must not have changed, and see whether the phase is over."""
        logs = {} if logs is None else logs
        if epoch == self._first_epoch:
            checks.check_monitors(self.schedule.phases, logs)
        checks.check_flags(self._flags, f"in epoch {epoch}")
        if self._frozen is not None:
            self._frozen.check(f"in epoch {epoch}")
        if self.auto_rates:
            base = self._multipliers[self._clock.index]
            self._rates = measured_factors(self._stages, self._optimizer.take_gradient_norms(), base)
            self._optimizer.set_multipliers(self._rates)
        if self._clock.observe(epoch, logs) and self._clock.phase.restore_best:
            self._best.keep()
        logs["freeze_depth"] = self.freeze_depth
        logs["trainable_params"] = self.trainable_params
        self._epochs_done, self._inside_epoch = epoch + 1, False
        if self._clock.ended and self._clock.is_last:
            self.model.stop_training = True

    def on_train_end(self, logs: Logs = None) -> None:
        """End the last phase."""
        state = RunState.from_arrays(self._optimizer.loaded())
        if self._begun is None and state is not None:
            self._start(state.epoch)  # resumed after the last epoch
        if self._begun is not None:
            self._end_phase()
            if getattr(self._optimizer, "use_ema", False):  # `fit` has done so before the best came back
                self.model.optimizer.finalize_variable_values(self.model.trainable_weights)
        self._optimizer.attach(None)
        self._optimizer.measure_gradients(False)

    def begin_run(self, epoch: int) -> None:
        """Stand where the run stands that begins at `epoch`, if that is not done yet."""
        if self._begun is None:
            self._start(epoch)

    @property
    def freeze_depth(self) -> int:
        """The freeze depth in force."""
        return self._depths[self._begun or 0]

    @property
    def coming_depths(self) -> list[int]:
        """The freeze depths of the phase in force and of those after it."""
        return self._depths[self._begun or 0 :]

    @property
    def frozen_weights(self) -> int:
        """How many frozen weights are compared after each epoch."""
        return 0 if self._frozen is None else len(self._frozen.variables)

    @property
    def trainable_params(self) -> int:
        """How many scalars train now."""
        return sum(int(v.value.shape.num_elements()) for v in self.model.trainable_variables)

    @property
    def _optimizer(self) -> Any:
        return _keras.inner_optimizer(self.model.optimizer)

    def _start(self, epoch: int) -> None:
        """Stand where the run stands: at its beginning, or where it was interrupted."""
        self._first_epoch = self._epochs_done = epoch
        found = RunState.from_arrays(self._optimizer.loaded())
        before = self._found_before if epoch > 0 else None
        if found is None and before is not None and before.epoch == epoch:
            found = before
        if found is None:
            self._clock.move_to(epoch)
        else:
            resume(self.model, self._fit, found, self._identity, epoch)
            self._clock = PhaseClock.from_dict(self.schedule, found.clock)
            self._rates, self._best.arrays = found.rates, found.best
            logger.info("Resumed at epoch %d, in phase %d.", epoch, self._clock.index)
        self._begin_phase(fresh=found is None)

    def _switch_at_boundary(self) -> None:
        if self._optimizer.at_window_boundary():
            self._waits = False
            self._end_phase()
            self._clock.advance()
            self._begin_phase(fresh=True)

    def _begin_phase(self, fresh: bool) -> None:
        """Set flags, rates and factors; `fresh` tells a phase that begins from one that is resumed."""
        index, optimizer = self._clock.index, self._optimizer
        phase, depth = self.schedule.phases[index], self._depths[index]
        same_depth = self._begun is not None and depth == self.freeze_depth
        if not same_depth:
            set_depth(self._stages, depth, self.batch_norm)
            self._optimizer.settle_frozen_averages()
        self._flags = Flags(self.model)
        self._rates = None if fresh else with_own_paths(self._stages, self._rates)
        if fresh and phase.learning_rate is not None:
            optimizer.learning_rate = phase.learning_rate
        if fresh:
            optimizer.start_warmup(phase.warmup_steps)
        factors = self._multipliers[index] if self._rates is None else Multipliers(self._rates)
        retrace = False if factors is None else optimizer.set_multipliers(factors)
        if not same_depth or retrace:
            _keras.apply_trainable_flags(self.model)
        self._begun, self._phase_start = index, self._epochs_done
        self._frozen = FrozenCheck(self._stages) if self.verify else None
        place = self._epochs_done, index, depth, len(self._stages), f"{self.trainable_params:,}"
        logger.info("Epoch %d, phase %d: freeze depth %d of %d, %s parameters train.", *place)

    def _end_phase(self) -> None:
        """Go back to the phase's best epoch, and report."""
        best = self._clock.best_epoch if self._best.restore() else None
        if self._frozen is not None and self._begun is not None and self._epochs_done > self._phase_start:
            epochs = (self._phase_start, self._epochs_done - 1)
            self._frozen.check(f"in phase {self._begun}")
            place = self._begun, self.freeze_depth, epochs, best
            self.report.append(self._frozen.report(self._optimizer, *place))

    def _state(self) -> dict[str, np.ndarray]:
        """The state that is saved with the optimizer."""
        place = self._epochs_done, self._inside_epoch, self._clock.to_dict()
        random, lora = _keras.random_state(self.model), _keras.lora_values(self.model)
        return RunState(*place, self._rates, random, self._identity, self._best.arrays, lora).to_arrays()
