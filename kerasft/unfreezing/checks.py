"""Checks before and during a run: of monitors, rates, flags, stages and the other callbacks."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras

from kerasft import _keras
from kerasft.freezing import Flags, declare_kept, log_kept
from kerasft.stages import KeptFrozen, Stages
from kerasft.unfreezing.phase import Phase
from kerasft.unfreezing.schedule import UnfreezingSchedule

logger = logging.getLogger(__name__)


def check_monitors(schedule: Iterable[Phase], logs: Mapping[str, Any]) -> None:
    """Raise unless the logs have the monitor of every phase.

    Args:
        schedule: A schedule, or some phases.
        logs: What an epoch logged, by name.

    Raises:
        ValueError: Names the monitors that are missing, each once, and those that exist.
    """
    missing = sorted({p.monitor for p in schedule if p.monitor is not None and p.monitor not in logs})
    if not missing:
        return
    hint = " Watch one of those, or give `compile` the metric."
    if any(name.startswith("val_") for name in missing) and not any(n.startswith("val_") for n in logs):
        hint = (
            " Names with val_ need validation_data, and validation_freq=1, in fit."  # nothing was validated
        )
    raise ValueError(
        f"The schedule watches {missing}, which the epoch has not logged. It logged {sorted(logs)}.{hint}"
    )


def with_directions(schedule: UnfreezingSchedule, model: keras.Model) -> UnfreezingSchedule:
    """The schedule with "min" or "max" in place of "auto", as the model's metrics say, or usual names.

    Args:
        schedule: The schedule.
        model: The model that has trained for an epoch, so that its metrics are built.

    Raises:
        ValueError: Names the monitors of which neither metrics nor names say what is better.
    """
    phases: list[Phase] = []
    unknown: set[str] = set()
    for phase in schedule:
        try:
            if phase.monitor is not None and phase.mode == "auto":
                said = _keras.metric_direction(model, phase.monitor) or phase.direction
                phase = dataclasses.replace(phase, mode=said)
        except ValueError:
            unknown.add(str(phase.monitor))
        phases.append(phase)
    if unknown:
        raise ValueError(
            f"The schedule watches {sorted(unknown)}, and neither a metric of the model nor the name tells "
            'whether more or less of it is better. Say mode="max" or mode="min" beside `monitor`.'
        )
    return UnfreezingSchedule(phases)


def check_rates(
    schedule: Iterable[Phase],
    optimizer: keras.optimizers.Optimizer,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Raise if phases and someone else set the learning rate: the optimizer's schedule, or a callback."""
    rates = [phase.learning_rate for phase in schedule]
    if any(rate is not None for rate in rates) and not _keras.learning_rate_is_settable(optimizer):
        raise ValueError(
            "The optimizer has a LearningRateSchedule, so phases can't set its learning rate. "
            "Leave Phase.learning_rate out, or create the optimizer with a number."
        )
    kinds = (keras.callbacks.ReduceLROnPlateau, keras.callbacks.LearningRateScheduler)
    setting = [placed(callbacks, i) for i, callback in enumerate(callbacks) if isinstance(callback, kinds)]
    scheduled = [i for i, rate in enumerate(rates) if rate is not None and not isinstance(rate, float)]
    if setting and scheduled:
        raise ValueError(
            f"{' and '.join(setting)} would set the learning rate that the phases {scheduled}, from 0, "
            "take from a LearningRateSchedule. Leave the callback out, or give those phases a number."
        )


def check_stages(stages: Stages, model: keras.Model) -> None:
    """Raise unless the stages given to the callback are those of the model that trains."""
    if stages.model is not model:
        raise ValueError(
            f"The stages given to GradualUnfreezing are those of {stages.model.name!r}, "
            f"but the model that trains is {model.name!r}."
        )


def declared(
    stages: Stages, depths: Sequence[int], keep_frozen: Sequence[str], everything: bool
) -> KeptFrozen:
    """Note what stays frozen in every phase, say so in the log, and raise if a phase then trains nothing.

    Args:
        stages: The stages of the model.
        depths: The freeze depth of each phase.
        keep_frozen: As in `kerasft.freeze`.
        everything: As in `kerasft.freeze`.
    """
    kept = declare_kept(stages, keep_frozen, everything)
    nothing = [index for index, depth in enumerate(depths) if not kept.trains_at(depth)]
    if nothing:
        raise ValueError(
            f"In the phases {nothing} of the schedule, from 0, nothing trains: all stages from their freeze "
            "depth on are kept frozen, by `keep_frozen` or by flags that you set. Name less in keep_frozen, "
            "choose a lower depth, or let all layers train with everything=True; print(stages) shows what is "
            "kept frozen."
        )
    log_kept(stages, kept, min(depths))
    return kept


def warn_of_dropped_window(model: keras.Model) -> None:
    """Say that a phase begins inside a window of accumulated gradients, as no step began at its boundary."""
    logger.warning(
        "No step began with an empty window of accumulated gradients in a whole epoch "
        "(steps_per_execution=%d); an unfinished window is dropped.",
        _keras.steps_per_call(model),
    )


def warn_of_phases_without_epochs(schedule: Iterable[Phase], begun: int, stopped: bool) -> None:
    """Say which phases never began, if there are any, and what ended the fit.

    Args:
        schedule: The schedule.
        begun: The phase that began last, from 0.
        stopped: Whether a callback has ended the fit; else its epochs ran out.
    """
    never = [f"{i} ({phase.depth!r})" for i, phase in enumerate(schedule) if i > begun]
    if never:
        logger.warning(
            "The fit ended in phase %d, and %s %s never began: %s.",
            begun,
            "the phases" if len(never) > 1 else "phase",
            ", ".join(never),
            "a callback has set stop_training" if stopped else "its epochs ran out before; raise `epochs`",
        )


def check_callbacks(
    callbacks: Sequence[keras.callbacks.Callback], own: keras.callbacks.Callback, kind: type
) -> None:
    """Raise if another callback of the fit unfreezes as well, or saves before `own` has seen the epoch.

    Args:
        callbacks: All of the fit, in order.
        own: The callback that asks.
        kind: The class of callbacks that unfreeze.
    """
    several = [placed(callbacks, i) for i, other in enumerate(callbacks) if isinstance(other, kind)]
    if len(several) > 1:
        raise ValueError(
            f"One fit has two {kind.__name__} callbacks: {' and '.join(several)}. "
            "Join their phases in one schedule."
        )
    place = next((i for i, other in enumerate(callbacks) if other is own), 0)
    early = [placed(callbacks, i) for i in range(place) if saves_epochs(callbacks[i])]
    if early:
        raise ValueError(
            f"{' and '.join(early)} {'stands' if len(early) == 1 else 'stand'} before "
            f"{placed(callbacks, place)} in the list of callbacks, so it would save an epoch's weights "
            "before the schedule has seen the epoch. Put it after."
        )


def saves_epochs(callback: keras.callbacks.Callback) -> bool:
    """Whether a callback is Keras's BackupAndRestore or ours, or made from one of them."""
    return any(base.__name__ == "BackupAndRestore" for base in type(callback).__mro__)


def placed(callbacks: Sequence[keras.callbacks.Callback], index: int) -> str:
    """A callback as messages name it: its class, and its place in the list of `fit`."""
    return f"{type(callbacks[index]).__name__} (callbacks[{index}])"


def check_flags(flags: Flags | None, when: str) -> None:
    """Raise if `trainable` flags are not what the phase has set, if any; `when` completes the message."""
    if flags is not None and (changed := flags.changed()):
        raise RuntimeError(
            f"Someone else changed `trainable` {when}: {changed}. The running fit can't see that. "
            "Express it in the schedule, or stop fit, change it, and fit again."
        )
