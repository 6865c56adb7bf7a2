"""A run as GradualUnfreezing saves it with the optimizer: where it stands, and which run it is."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import keras
import numpy as np

from kerasft import _keras
from kerasft.identity import require_same
from kerasft.stages import KeptFrozen, Stages
from kerasft.unfreezing.schedule import UnfreezingSchedule

logger = logging.getLogger(__name__)

_BY_NAME = ("best", "kept", "overall")  # fields that are arrays by name
_NAMED = "names"  # what the user called things, which identifies nothing


@dataclass(frozen=True)
class RunState:
    """A run between two epochs, or inside one.

    Attributes:
        epoch: How many epochs are over.
        inside_epoch: Whether another one has begun.
        clock: The `PhaseClock`, as a dict.
        rates: Learning-rate factors that were measured, by variable path; or None.
        random: States of the model's random generators.
        identity: What a run must have in common with this one to go on with it.
        best: Weights and slots of the phase's best epoch, by name.
        lora: Weights of the layers in which LoRA is enabled, which a weights file does not keep apart.
        counts: What the fit's patient callbacks have counted.
        kept: The best epochs of those, by name.
        overall_clock: The `PhaseClock` of the best epoch of all phases, as a dict; None if it is not sought.
        overall: Weights and slots of that epoch, by name.
    """

    epoch: int
    inside_epoch: bool
    clock: dict[str, Any]
    rates: dict[str, float] | None
    random: list[list[int]]
    identity: dict[str, Any]
    best: Mapping[str, np.ndarray]
    lora: Sequence[np.ndarray] = ()
    counts: Sequence[Mapping[str, Any]] = ()
    kept: Mapping[str, np.ndarray] = field(default_factory=dict)
    overall_clock: dict[str, Any] | None = None
    overall: Mapping[str, np.ndarray] = field(default_factory=dict)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The state as arrays by name, the names without a slash."""
        fields = {name: value for name, value in asdict(self).items() if name not in (*_BY_NAME, "lora")}
        text = np.frombuffer(json.dumps(fields, default=str).encode(), "uint8")
        lora = {f"lora.{index}": value for index, value in enumerate(self.lora)}
        named = {f"{kind}.{name}": value for kind in _BY_NAME for name, value in getattr(self, kind).items()}
        return {"state": text, **named, **lora}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> RunState | None:
        """The state that `to_arrays` wrote; None if there is none."""
        if "state" not in arrays:
            return None
        named: dict[str, Any] = {
            kind: {n.removeprefix(f"{kind}."): v for n, v in arrays.items() if n.startswith(f"{kind}.")}
            for kind in _BY_NAME
        }
        lora = [arrays[f"lora.{index}"] for index in range(sum(name.startswith("lora.") for name in arrays))]
        return cls(**json.loads(bytes(arrays["state"]).decode()), lora=lora, **named)

    def check_identity(self, now: Mapping[str, Any]) -> None:
        """Raise unless a run with the identity `now` is the run that was saved.

        Raises:
            ValueError: Names what is different, and how.
        """
        advice = "Use what it had, or begin without the backup."
        then = {name: value for name, value in self.identity.items() if name != _NAMED}
        if _NAMED not in self.identity:  # of an earlier version, which went by names
            now = {**now, **now.get(_NAMED, {})}
        now = {name: value for name, value in now.items() if name != _NAMED}
        require_same(then, now, "The run that was saved can't be resumed: it was begun", advice)


def run_identity(
    schedule: UnfreezingSchedule,
    batch_norm: str | None,
    stages: Stages,
    kept: KeptFrozen,
    optimizer: keras.optimizers.Optimizer,
    multipliers: Sequence[Mapping[str, float] | None],
    dropout: str | None = None,
) -> dict[str, Any]:
    """The identity of a run: a run that goes on with its state must have the same.

    Stages and weights are told by their numbers, and what is kept frozen by its places, for a model that is
    built again may have other names.

    Args:
        schedule: The schedule.
        batch_norm: The policy for BatchNormalization.
        stages: The stages of the model.
        kept: What stays frozen at every depth.
        optimizer: Its optimizer.
        multipliers: For each phase the factor of each weight, in the model's order, if it has any.
        dropout: The policy for random numbers in frozen stages.
    """
    phases = [
        {
            **fields,
            "depth": stages.depth(phase.depth),
            **({} if factors is None else {"multipliers": list(factors.values())}),
        }
        for fields, phase, factors in zip(schedule.to_dict()["phases"], schedule, multipliers, strict=True)
    ]
    return {
        "schedule": {"phases": phases},
        "batch_norm": batch_norm,
        "dropout": dropout,
        "kept_frozen": kept.places(),
        "division into stages": [stage.parameters for stage in stages],
        "optimizer": _keras.description(optimizer),
        _NAMED: {"schedule": schedule.to_dict(), "stages": stages.names},
    }


def resume(
    model: keras.Model,
    fit: _keras.RunningFit | None,
    state: RunState,
    identity: Mapping[str, Any],
    epoch: int,
) -> None:
    """Put random generators, LoRA's weights and data where they were when a run was saved.

    Args:
        model: The model, whose weights and optimizer were restored.
        fit: The `fit` that runs; None if it was not found.
        state: The state that came with them.
        identity: The identity of the run that goes on.
        epoch: The epoch with which `fit` begins.

    Raises:
        ValueError: The state is of another run, or of another epoch.
    """
    state.check_identity(identity)
    if state.epoch != epoch:
        raise ValueError(
            f"The weights that were restored are those after {state.epoch} epochs, but fit begins at "
            f"epoch {epoch}: the process was killed between writing the one and the other. Write "
            f'{state.epoch} into the backup\'s "training_metadata.json", or use '
            "kerasft.BackupAndRestore, which writes both at once."
        )
    if state.inside_epoch:
        logger.warning(
            "The backup was made inside epoch %d, which begins again: the run will differ a little from "
            'one that was not interrupted. save_freq="epoch" avoids that.',
            epoch,
        )
    _keras.set_random_state(model, state.random)
    _keras.set_lora_values(model, state.lora)
    if not _keras.replay_epochs(fit, epoch, read=fit is None or epoch < fit.epochs):
        logger.warning("The order of the data could not be replayed; it differs from the killed run's.")
