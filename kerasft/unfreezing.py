"""GradualUnfreezing: a Keras callback that walks a schedule of freeze depths inside one `fit`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import keras

from kerasft import trainer
from kerasft.freezing import BatchNormPolicy, set_depth
from kerasft.multipliers import resolve_multipliers
from kerasft.schedule import Phase, UnfreezingSchedule, as_schedule
from kerasft.stages import Stages, find_stages

logger = logging.getLogger(__name__)


class GradualUnfreezing(keras.callbacks.Callback):
    """Thaw a model phase by phase while it trains, without compiling again.

    Before the first epoch the optimizer is given slots for everything that the schedule will ever train;
    at the start of each phase the flags are set and the training step is traced anew. The optimizer keeps
    its moments from phase to phase, and each variable counts its own steps from its thaw on.

    `logs` gain `freeze_depth` and `trainable_params`. Put this callback before those that read the logs
    (CSVLogger, TensorBoard); History sees them wherever it stands.

    Args:
        schedule: An `UnfreezingSchedule`, or a sequence of `Phase`.
        batch_norm: Policy for BatchNormalization in thawed stages, as in `kerasft.freeze`.
        stages: The stages of the model; needed for subclassed models, found by `find_stages` otherwise.

    Raises:
        TypeError, ValueError: The schedule is not one. When `fit` begins: it does not fit the model or the
            number of epochs.

    Example:
        >>> schedule = UnfreezingSchedule([Phase("head", epochs=2), Phase(0)])
        >>> callback = GradualUnfreezing(schedule)

    References:
        Howard & Ruder (2018), arXiv:1801.06146, section 3.3.
    """

    def __init__(
        self,
        schedule: UnfreezingSchedule | Sequence[Phase],
        batch_norm: BatchNormPolicy = "train",
        stages: Stages | None = None,
    ) -> None:
        super().__init__()
        if batch_norm not in ("train", "inference"):
            raise ValueError(f'batch_norm is "train" or "inference", not {batch_norm!r}.')
        self.schedule = as_schedule(schedule)
        self.batch_norm: BatchNormPolicy = batch_norm
        self.stages = stages
        self._given = stages is not None
        self._phase: int | None = None
        self._depths: list[int] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Hold the schedule against the model, and prepare the optimizer for all that will train."""
        if not self._given:
            self.stages = find_stages(self.model)
        assert self.stages is not None
        if self.stages.model is not self.model:
            raise ValueError(
                f"The stages given to GradualUnfreezing are those of {self.stages.model.name!r}, "
                f"but the model that trains is {self.model.name!r}."
            )
        self._depths = self.schedule.check(self.stages, self.params.get("epochs"))
        self._multipliers = [
            None if phase.multipliers is None else resolve_multipliers(self.stages, phase.multipliers)
            for phase in self.schedule
        ]
        rates = [phase.learning_rate for phase in self.schedule]
        optimizer = trainer.inner_optimizer(self.model.optimizer)
        if any(rate is not None for rate in rates) and not trainer.learning_rate_is_settable(optimizer):
            raise ValueError(
                "The optimizer has a LearningRateSchedule, so phases can't set its learning rate. "
                "Leave Phase.learning_rate out, or create the optimizer with a number."
            )
        set_depth(self.stages, min(self._depths), self.batch_norm)
        everything = list(self.model.trainable_variables)
        trainer.count_steps(self.model.optimizer)
        self._phase = None
        trainer.follow_flags(self.model, everything)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begin the phase that `epoch` belongs to, if it is not the one running."""
        index = self.schedule.index_at(epoch)
        if index == self._phase:
            return
        assert self.stages is not None
        phase, depth = self.schedule.phases[index], self._depths[index]
        set_depth(self.stages, depth, self.batch_norm)
        optimizer: Any = trainer.inner_optimizer(self.model.optimizer)
        if phase.learning_rate is not None:
            optimizer.learning_rate = phase.learning_rate
        multipliers = self._multipliers[index]
        if multipliers is not None:
            optimizer.set_multipliers(multipliers)
        trainer.follow_flags(self.model)
        self._phase = index
        logger.info(
            "Epoch %d, phase %d: freeze depth %d of %d, %s parameters train.",
            epoch,
            index,
            depth,
            len(self.stages),
            f"{self.trainable_params:,}",
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Put `freeze_depth` and `trainable_params` into the logs."""
        if logs is not None:
            logs["freeze_depth"] = self.freeze_depth
            logs["trainable_params"] = self.trainable_params

    @property
    def freeze_depth(self) -> int:
        """The freeze depth in force."""
        return self._depths[self._phase or 0]

    @property
    def trainable_params(self) -> int:
        """How many scalars train now."""
        return sum(int(v.value.shape.num_elements()) for v in self.model.trainable_variables)
