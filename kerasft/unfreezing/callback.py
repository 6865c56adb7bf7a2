"""GradualUnfreezing: a Keras callback that walks a schedule of freeze depths inside one `fit`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras

from kerasft import _keras
from kerasft.freezing import (
    BatchNormPolicy,
    DropoutPolicy,
    check_batch_norm,
    check_dropout,
    check_keep_frozen,
)
from kerasft.stages import Stages, find_stages
from kerasft.typing import Logs
from kerasft.unfreezing import checks
from kerasft.unfreezing.best_of_all import best_of_all_by
from kerasft.unfreezing.phase import Phase
from kerasft.unfreezing.phase_report import PhaseReport
from kerasft.unfreezing.phase_run import PhaseRun
from kerasft.unfreezing.schedule import UnfreezingSchedule, as_schedule, schedule_of


def _on_trained_weights(hook: Callable[..., None]) -> Callable[..., None]:
    """Let a hook find the weights that train in the model, if a callback has put averages in their place."""

    @functools.wraps(hook)
    def wrapped(self: GradualUnfreezing, epoch: int, logs: Logs = None) -> None:
        fit = self._in_fit.fit
        callbacks = () if fit is None else fit.callbacks
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
    was set. `logs` gain `freeze_depth`, `trainable_params` and `learning_rate` (the base rate, without
    warm-up and multipliers). Put this callback before those that read the logs or save (CSVLogger,
    TensorBoard, BackupAndRestore); History sees them wherever it stands.

    Where a run stands in its schedule is saved with the optimizer's state, so that a run goes on from what
    `kerasft.BackupAndRestore` or Keras's own `BackupAndRestore` has saved as if it had not stopped.

    Args:
        schedule: An `UnfreezingSchedule`, or a sequence of `Phase`. None: one stage at a time, from the head
            down to everything, in equal parts of the epochs of this fit; where there are more stages than
            epochs, several thaw at once.
        batch_norm: Policy for BatchNormalization in thawed stages, as in `kerasft.freeze`.
        stages: The stages of the model (or the model); needed for subclassed models, found by `find_stages`
            otherwise.
        auto_rates: Multiply each stage's learning rate by its relative gradient norm (Auto-RGN), measured
            over each epoch for the next one; the first epoch of a phase trains at the base rates.
        verify: Whether to compare frozen weights after each epoch, and to report on each phase. It costs a
            hash of the frozen weights an epoch, and a copy of those that train.
        keep_frozen: What stays frozen in every phase besides what you froze for good, as in `kerasft.freeze`.
        everything: Whether to forget what you froze yourself, as in `kerasft.freeze`.
        restart_callbacks: Whether Keras's EarlyStopping and ReduceLROnPlateau in the same fit begin anew with
            each phase, wherever they stand in the list. An EarlyStopping then ends the phase, and the fit
            in the last phase alone; with `restore_best_weights` each phase ends at its best epoch, unless
            the phase has one of its own. `start_from_epoch` counts the epochs of the fit. False leaves them
            to themselves: they compare values across phases, and EarlyStopping ends the fit.
        restore_best: "phase": each phase with a monitor ends at its best epoch, and so does the fit. "all":
            after that, the model goes back to the best epoch of all phases: weights, optimizer slots, step
            counts and averages; the flags stay those of the last phase.
        monitor: With restore_best="all", the name of a logged number that tells the best epoch; None: the
            one that the phases watch.
        mode: "min" or "max": its better value; "auto" as in `Phase`.
        dropout: Policy for what draws random numbers in frozen stages, as in `kerasft.freeze`; what a phase
            thaws draws from then on.

    Attributes:
        schedule: The schedule; None before `fit` begins, if none was given.
        stages: The stages of the model that trains; None before `fit` begins, unless they were given.
        batch_norm: The policy for BatchNormalization.
        dropout: The policy for random numbers in frozen stages.
        acts_at_window_boundaries: Whether, between two steps of an epoch, the callback acts only at the
            boundary of a window of accumulated gradients: without accumulation it acts between epochs alone.

    Raises:
        TypeError, ValueError: An argument is wrong. When `fit` begins: the schedule does not fit the model or
            the number of epochs, or a phase trains nothing. After the first epoch: it watches what is not
            logged, or of which nothing tells whether more or less is better.
        RuntimeError: A frozen weight moved, or someone else changed `trainable` flags.

    Example:
        >>> schedule = UnfreezingSchedule([Phase("head", epochs=2), Phase(0)])
        >>> callback = GradualUnfreezing(schedule)

    References:
        Howard & Ruder (2018), arXiv:1801.06146, section 3.3; Lee et al. (2023), arXiv:2210.11466, section 4.
    """

    acts_at_window_boundaries: bool = True

    def __init__(
        self,
        schedule: UnfreezingSchedule | Sequence[Phase] | None = None,
        batch_norm: BatchNormPolicy | None = None,
        stages: keras.Model | Stages | None = None,
        auto_rates: bool = False,
        verify: bool = True,
        keep_frozen: Sequence[str] = (),
        everything: bool = False,
        restart_callbacks: bool = True,
        restore_best: Literal["phase", "all"] = "phase",
        monitor: str | None = None,
        mode: Literal["auto", "min", "max"] = "auto",
        dropout: DropoutPolicy | None = None,
    ) -> None:
        super().__init__()
        check_batch_norm(batch_norm)
        check_dropout(dropout)
        check_keep_frozen(keep_frozen)
        self.schedule = None if schedule is None else as_schedule(schedule)
        self.batch_norm: BatchNormPolicy | None = batch_norm
        self.dropout: DropoutPolicy | None = dropout
        self.stages = None if stages is None else find_stages(stages)
        self.auto_rates = auto_rates
        self.verify = verify
        self.keep_frozen, self.everything = tuple(keep_frozen), everything
        if not isinstance(restart_callbacks, bool):
            raise TypeError(f"restart_callbacks is True or False, not {restart_callbacks!r}.")
        self.restart_callbacks = restart_callbacks
        self.restore_best = restore_best
        self._best_of_all = best_of_all_by(self.schedule, restore_best, monitor, mode)
        self._given = stages is not None
        self._planned = schedule is None
        self._run: PhaseRun | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy has the settings; the model and the fit belong to the original."""
        return {**vars(self), "_model": None, "_run": None, "stages": self.stages if self._given else None}

    def on_train_begin(self, logs: Logs = None) -> None:
        """Hold the schedule against the model, and prepare the optimizer for all that will train."""
        self._run = None
        if not self._given or self.stages is None:
            self.stages = find_stages(self.model)
        checks.check_stages(self.stages, self.model)
        epochs = self.params.get("epochs")
        if self._planned or self.schedule is None:
            self.schedule = schedule_of("one_stage_at_a_time", self.stages, 0, epochs or 1, None)
        fit = _keras.running_fit(self.model)
        checks.check_callbacks([] if fit is None else fit.callbacks, self, GradualUnfreezing)
        self._run = PhaseRun(
            self.model,
            self.stages,
            self.schedule,
            epochs,
            fit,
            batch_norm=self.batch_norm,
            dropout=self.dropout,
            auto_rates=self.auto_rates,
            verify=self.verify,
            keep_frozen=self.keep_frozen,
            everything=self.everything,
            restart_callbacks=self.restart_callbacks,
            best_of_all=self._best_of_all,
        )

    @_on_trained_weights
    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Begin the phase that `epoch` belongs to, if it is not the one running."""
        self._in_fit.begin_epoch(epoch)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Begin a phase that waits for a window of accumulated gradients to be complete."""
        if self._in_fit.waits:
            self._in_fit.switch_at_boundary()

    @_on_trained_weights
    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Check what must not have changed, and see whether the phase is over."""
        logs = {} if logs is None else logs
        run = self._in_fit
        run.end_epoch(epoch, logs)
        logs["freeze_depth"] = run.freeze_depth
        logs["trainable_params"] = run.trainable_params
        logs["learning_rate"] = run.rates.base
        if run.clock.ended and run.clock.is_last:
            self.model.stop_training = True

    def on_train_end(self, logs: Logs = None) -> None:
        """End the last phase."""
        self._in_fit.finish()

    @property
    def report(self) -> list[PhaseReport]:
        """A report on each phase that is over, of the fit that runs or was the last to run."""
        return [] if self._run is None else self._run.report

    @property
    def phase(self) -> int:
        """The phase that runs, from 0."""
        return 0 if self._run is None else self._run.clock.index

    def begin_run(self, epoch: int) -> None:
        """Stand where the run stands that begins at `epoch`, if that is not done yet."""
        self._in_fit.begin_run(epoch)

    @property
    def freeze_depth(self) -> int:
        """The freeze depth in force."""
        return self._in_fit.freeze_depth

    @property
    def coming_depths(self) -> list[int]:
        """The freeze depths of the phase in force and of those after it."""
        return [] if self._run is None else self._run.depths[self._run.begun or 0 :]

    @property
    def frozen_weights(self) -> int:
        """How many frozen weights are compared after each epoch."""
        frozen = None if self._run is None else self._run.frozen
        return 0 if frozen is None else len(frozen.variables)

    @property
    def trainable_params(self) -> int:
        """How many scalars train now."""
        return self._in_fit.trainable_params

    @property
    def _in_fit(self) -> PhaseRun:
        if self._run is None:
            raise RuntimeError("GradualUnfreezing has no phases before `fit` has begun with it.")
        return self._run
