"""GradualUnfreezing: a Keras callback that walks a schedule of freeze depths inside one `fit`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasft import _keras
from kerasft.freezing import (
    BatchNormPolicy,
    Flags,
    check_batch_norm,
    set_depth,
)
from kerasft.learning_rates import Multipliers, relative_gradient_norms, resolve_multipliers
from kerasft.stages import Stages, find_stages
from kerasft.typing import Logs
from kerasft.unfreezing.checks import check_monitors
from kerasft.unfreezing.frozen_check import Audit
from kerasft.unfreezing.phase import Phase
from kerasft.unfreezing.phase_clock import PhaseClock
from kerasft.unfreezing.phase_report import PhaseReport
from kerasft.unfreezing.run_state import RunState
from kerasft.unfreezing.schedule import UnfreezingSchedule, as_schedule

logger = logging.getLogger(__name__)


class GradualUnfreezing(keras.callbacks.Callback):
    """Thaw a model phase by phase while it trains, without compiling again.

    Before the first epoch the optimizer is given slots for everything that the schedule will ever train;
    at the start of each phase the flags are set and the training step is traced anew. The optimizer keeps
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
        stages: The stages of the model; needed for subclassed models, found by `find_stages` otherwise.
        auto_rates: Multiply each stage's learning rate by its relative gradient norm (Auto-RGN), measured
            over each epoch for the next one; the first epoch of a phase trains at the base rates.
        verify: Whether to compare frozen weights after each epoch, and to report on each phase. It costs a
            hash of the frozen weights an epoch, and a copy of those that train.

    Attributes:
        report: One `PhaseReport` for each phase that is over: rates, changes and steps of each stage.

    Raises:
        TypeError, ValueError: An argument is wrong. When `fit` begins: the schedule does not fit the model or
            the number of epochs. After the first epoch: it watches what is not logged.
        RuntimeError: A frozen weight moved, or someone else changed `trainable` flags.

    Example:
        >>> schedule = UnfreezingSchedule([Phase("head", epochs=2), Phase(0)])
        >>> callback = GradualUnfreezing(schedule)

    References:
        Howard & Ruder (2018), arXiv:1801.06146, section 3.3; Lee et al. (2023), arXiv:2210.11466, section 4.
    """

    looks_only_while_accumulating = True  # `kerasft.cache` asks: its hook for batches waits for a window

    def __init__(
        self,
        schedule: UnfreezingSchedule | Sequence[Phase],
        batch_norm: BatchNormPolicy | None = None,
        stages: Stages | None = None,
        auto_rates: bool = False,
        verify: bool = True,
    ) -> None:
        super().__init__()
        check_batch_norm(batch_norm)
        self.schedule = as_schedule(schedule)
        self.batch_norm: BatchNormPolicy | None = batch_norm
        self.stages = stages
        self.auto_rates = auto_rates
        self.verify = verify
        self.report: list[PhaseReport] = []
        self._given = stages is not None
        self._reset()

    def _reset(self) -> None:
        self._clock = PhaseClock(self.schedule)
        self._begun: int | None = None  # the phase whose flags are set
        self._first_epoch = 0
        self._epochs_done = 0
        self._inside_epoch = False
        self._waits = False  # for a window of accumulated gradients
        self._depths: list[int] = []
        self._best: dict[str, np.ndarray] = {}
        self._rates: dict[str, float] | None = None  # factors that were measured
        self._flags: Flags | None = None
        self._audit: Audit | None = None

    # --- Keras's hooks

    def on_train_begin(self, logs: Logs = None) -> None:
        """Hold the schedule against the model, and prepare the optimizer for all that will train."""
        self._reset()
        self.report = []
        stages = self._find_stages()
        self._depths = self.schedule.check(stages, self.params.get("epochs"))
        self._multipliers = [
            None if phase.multipliers is None else resolve_multipliers(stages, phase.multipliers)
            for phase in self.schedule
        ]
        self._check_rates()
        self._check_callbacks()
        set_depth(stages, min(self._depths), self.batch_norm)
        everything = list(self.model.trainable_variables)
        _keras.add_step_counts(self.model.optimizer)
        self._found_before = RunState.from_arrays(self._optimizer.loaded())
        _keras.apply_trainable_flags(self.model, everything)
        # where a run that is resumed behind its last epoch stands
        set_depth(stages, self._depths[-1], self.batch_norm)
        self._optimizer.attach(self._state)
        self._optimizer.measure_gradients(self.auto_rates)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Begin the phase that `epoch` belongs to, if it is not the one running."""
        self._inside_epoch = True
        if self._begun is None:
            self._start(epoch)
        self._check_flags(f"before epoch {epoch}")
        if self._clock.ended and not self._clock.is_last:
            if self._waits and not self._optimizer.at_window_boundary():
                logger.warning(
                    "No step began with an empty window of accumulated gradients in a whole epoch "
                    "(steps_per_execution=%d); an unfinished window is dropped.",
                    _keras.steps_per_call(self.model),
                )
                self._optimizer.drop_window()
            self._waits = True
            self._switch_at_boundary()

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Begin a phase that waits for a window of accumulated gradients to be complete."""
        if self._waits:
            self._switch_at_boundary()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Check what must not have changed, and see whether the phase is over."""
        logs = {} if logs is None else logs
        if epoch == self._first_epoch:
            check_monitors(self.schedule.phases, logs)
        self._check_flags(f"in epoch {epoch}")
        if self._audit is not None:
            self._audit.check(f"in epoch {epoch}")
        if self.auto_rates:
            self._measure_rates()
        if self._clock.observe(epoch, logs) and self._clock.phase.restore_best:
            self._best = self._snapshot()
        logs["freeze_depth"] = self.freeze_depth
        logs["trainable_params"] = self.trainable_params
        self._epochs_done, self._inside_epoch = epoch + 1, False
        if self._clock.ended and self._clock.is_last:
            self.model.stop_training = True

    def on_train_end(self, logs: Logs = None) -> None:
        """End the last phase."""
        state = RunState.from_arrays(self._optimizer.loaded())
        if self._begun is None and state is not None:
            self._start(state.epoch)  # resumed behind the last epoch
        if self._begun is not None:
            self._end_phase()
            optimizer = self.model.optimizer
            if getattr(self._optimizer, "use_ema", False):  # `fit` has done so before the best came back
                optimizer.finalize_variable_values(self.model.trainable_weights)
        self._optimizer.attach(None)
        self._optimizer.measure_gradients(False)

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
        return 0 if self._audit is None else len(self._audit.frozen)

    @property
    def trainable_params(self) -> int:
        """How many scalars train now."""
        return sum(int(v.value.shape.num_elements()) for v in self.model.trainable_variables)

    # --- checks before training

    @property
    def _optimizer(self) -> Any:
        return _keras.inner_optimizer(self.model.optimizer)

    def _find_stages(self) -> Stages:
        if not self._given:
            self.stages = find_stages(self.model)
        assert self.stages is not None
        if self.stages.model is not self.model:
            raise ValueError(
                f"The stages given to GradualUnfreezing are those of {self.stages.model.name!r}, "
                f"but the model that trains is {self.model.name!r}."
            )
        return self.stages

    def _check_rates(self) -> None:
        rates = [phase.learning_rate for phase in self.schedule]
        if any(r is not None for r in rates) and not _keras.learning_rate_is_settable(self._optimizer):
            raise ValueError(
                "The optimizer has a LearningRateSchedule, so phases can't set its learning rate. "
                "Leave Phase.learning_rate out, or create the optimizer with a number."
            )

    def _check_callbacks(self) -> None:
        fit = _keras.running_fit(self.model)
        others = [] if fit is None else fit.callbacks
        if sum(isinstance(other, GradualUnfreezing) for other in others) > 1:
            raise ValueError(
                "One fit has two GradualUnfreezing callbacks. Join their phases in one schedule."
            )
        before = others[: others.index(self)] if self in others else []
        for other in before:
            if type(other).__name__ == "BackupAndRestore":
                raise ValueError(
                    "BackupAndRestore stands before GradualUnfreezing in the list of callbacks, so it would "
                    "save an epoch's weights before the schedule has seen the epoch. Put it behind."
                )

    def _check_flags(self, when: str) -> None:
        if self._flags is not None and (changed := self._flags.changed()):
            raise RuntimeError(
                f"Someone else changed `trainable` {when}: {changed}. The running fit can't see that. "
                "Say it in the schedule, or stop fit, change it, and fit again."
            )

    # --- phases

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
            self._resume(found, epoch)
        self._begin_phase(fresh=found is None)

    def _resume(self, state: RunState, epoch: int) -> None:
        state.check_identity(self._identity())
        if state.epoch != epoch:
            raise ValueError(
                f"The weights that were restored are those after {state.epoch} epochs, but fit begins at "
                f"epoch {epoch}: the process was killed between writing the one and the other. Write "
                f'{state.epoch} into the backup\'s "training_metadata.json", or use '
                "kerasft.BackupAndRestore, which writes both at once."
            )
        if state.inside_epoch:
            logger.warning(
                "The backup was made inside epoch %d, which begins anew: the run will differ a little from "
                'one that was not interrupted. save_freq="epoch" avoids that.',
                epoch,
            )
        self._clock = PhaseClock(self.schedule, **state.clock)
        self._rates, self._best = state.rates, dict(state.best)
        _keras.set_random_state(self.model, state.random)
        if not _keras.replay_epochs(self.model, epoch):
            logger.warning("The order of the data could not be replayed; it differs from the killed run's.")
        logger.info("Resumed at epoch %d, in phase %d.", epoch, self._clock.index)

    def _switch_at_boundary(self) -> None:
        if self._optimizer.at_window_boundary():
            self._waits = False
            self._end_phase()
            self._clock.advance()
            self._begin_phase(fresh=True)

    def _begin_phase(self, fresh: bool) -> None:
        """Set flags, rates and factors; `fresh` tells a phase that begins from one that is resumed."""
        assert self.stages is not None
        index, optimizer = self._clock.index, self._optimizer
        phase, depth = self.schedule.phases[index], self._depths[index]
        same_depth = self._begun is not None and depth == self.freeze_depth
        if not same_depth:
            set_depth(self.stages, depth, self.batch_norm)
        self._flags = Flags(self.model)
        if fresh and phase.learning_rate is not None:
            optimizer.learning_rate = phase.learning_rate
        if fresh:
            optimizer.start_warmup(phase.warmup_steps)
            self._rates = None
        factors = self._multipliers[index] if self._rates is None else Multipliers(self._rates)
        retrace = False if factors is None else optimizer.set_multipliers(factors)
        if not same_depth or retrace:
            _keras.apply_trainable_flags(self.model)
        self._begun, self._phase_start = index, self._epochs_done
        self._audit = Audit(self.stages) if self.verify else None
        logger.info(
            "Epoch %d, phase %d: freeze depth %d of %d, %s parameters train.",
            self._epochs_done,
            index,
            depth,
            len(self.stages),
            f"{self.trainable_params:,}",
        )

    def _end_phase(self) -> None:
        """Go back to the phase's best epoch, and report."""
        best = self._clock.best_epoch if self._best else None
        if self._best:
            self._restore(self._best)
            self._best = {}
        if self._audit is not None and self._begun is not None and self._epochs_done > self._phase_start:
            epochs = (self._phase_start, self._epochs_done - 1)
            self._audit.check(f"in phase {self._begun}")
            self.report.append(
                self._audit.report(self._optimizer, self._begun, self.freeze_depth, epochs, best)
            )

    def _measure_rates(self) -> None:
        """Set each trained stage's factor to its relative gradient norm of this epoch."""
        assert self.stages is not None
        ratios = relative_gradient_norms(self.stages, self._optimizer.take_gradient_norms())
        base: Mapping[str, float] = self._multipliers[self._clock.index] or {}
        self._rates = {
            v.path: base.get(v.path, 1.0) * max(ratio, 1e-12)  # 0 would mean: leave out, and trace anew
            for stage, ratio in zip(self.stages, ratios, strict=True)
            if stage.trainable
            for layer in stage.layers
            for v in _keras.own_trainable_variables(layer)
        }
        self._optimizer.set_multipliers(self._rates)

    # --- state

    def _moving(self) -> list[keras.Variable]:
        """All weights of the stages that train."""
        assert self.stages is not None
        return [v for stage in self.stages if stage.trainable for v in stage.weights]

    def _snapshot(self) -> dict[str, np.ndarray]:
        weights = {f"weight.{i}": v.numpy() for i, v in enumerate(self._moving())}
        slots = self._optimizer.snapshot(self.model.trainable_variables)
        return weights | {f"slot.{name}": value for name, value in slots.items()}

    def _restore(self, snapshot: dict[str, np.ndarray]) -> None:
        for i, variable in enumerate(self._moving()):
            variable.assign(snapshot[f"weight.{i}"])
        self._optimizer.restore({k[5:]: value for k, value in snapshot.items() if k.startswith("slot.")})

    def _state(self) -> dict[str, np.ndarray]:
        """What is saved with the optimizer."""
        random = _keras.random_state(self.model)
        clock, identity = self._clock.to_dict(), self._identity()
        state = RunState(
            self._epochs_done, self._inside_epoch, clock, self._rates, random, identity, self._best
        )
        return state.to_arrays()

    def _identity(self) -> dict[str, Any]:
        assert self.stages is not None
        return {
            "schedule": self.schedule.to_dict(),
            "batch_norm": self.batch_norm,
            "stages": [stage.name for stage in self.stages],
            "optimizer": _keras.description(self._optimizer),
        }
