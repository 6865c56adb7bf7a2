"""Phase: a freeze depth, how long it lasts, and at which rates it trains."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

import keras

from kerasft.arguments import check_integer, check_number

LearningRate: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule


@dataclass(frozen=True)
class Phase:
    """A stretch of epochs at one freeze depth.

    It ends after `epochs`, or when `monitor` has not improved for `patience` epochs, or by whichever of
    both comes first or last. A phase with a monitor ends at its best epoch: weights, optimizer slots, step
    counts and averages go back to it together.

    Attributes:
        depth: Number of frozen stages, or a stage's name, or the name or path (`student/body`) of the layer
            that starts a stage: freeze up to, but not including, it.
        epochs: How many epochs the phase lasts; None, without `patience`, for the last phase only: until
            the end of `fit`.
        patience: Epochs without improvement of `monitor` after which the phase ends.
        monitor: Name of a logged number, such as "val_loss". Without patience it only tells the best epoch.
        learning_rate: Base learning rate from this phase on; None keeps the optimizer's. Or one of
            `keras.optimizers.schedules`, whose steps count from the beginning of the phase, each batch one.
            Multipliers and warm-up apply on top.
        multipliers: Learning-rate factors (dimensionless, >= 0) from this phase on, by names of stages, and
            names, paths and globs of layers (see `kerasft.resolve_multipliers`); None keeps those in force.
        warmup_steps: Optimizer steps over which the rate rises linearly at the phase's beginning.
        ends: Given epochs and patience, whether the "first" or the "last" of them ends the phase.
        min_delta: More than this `monitor` has to change by to have improved (in its own unit).
        mode: "min" or "max": the better value of `monitor`. "auto" asks the model's own metric of that
            name, and goes by usual names where no metric says; a name that tells nothing is refused after
            the first epoch.
        restore_best: Whether a phase with a monitor goes back to its best epoch when it ends.

    Raises:
        TypeError, ValueError: A field has the wrong type or range.

    Example:
        >>> Phase(depth="block_12", epochs=3).depth
        'block_12'
        >>> Phase(depth=0, patience=2, monitor="val_accuracy").direction
        'max'
    """

    depth: int | str
    epochs: int | None = None
    patience: int | None = None
    monitor: str | None = None
    learning_rate: LearningRate | None = None
    multipliers: Mapping[str, float] | None = None
    warmup_steps: int = 0
    ends: Literal["first", "last"] = "first"
    min_delta: float = 0.0
    mode: Literal["auto", "min", "max"] = "auto"
    restore_best: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.depth, bool) or not isinstance(self.depth, int | str):
            raise TypeError(
                f"Phase.depth is an integer or a stage's name, not {self.depth!r}: it is one place in the "
                "model. To train some layers and no others, give the rest the rate 0 in Phase.multipliers."
            )
        if isinstance(self.depth, int) and self.depth < 0:
            raise ValueError(f"Phase.depth counts frozen stages and can't be negative: {self.depth}.")
        for name, lowest in (("epochs", 1), ("patience", 1), ("warmup_steps", 0)):
            value = getattr(self, name)
            if value is not None or name == "warmup_steps":
                check_integer(f"Phase.{name}", value, at_least=lowest)
                object.__setattr__(self, name, int(value))  # numpy's numbers are no JSON
        self._check_monitor()
        if not isinstance(self.restore_best, bool):
            raise TypeError(f"Phase.restore_best is True or False, not {self.restore_best!r}.")
        for name in ("learning_rate", "min_delta"):
            value = getattr(self, name)
            if isinstance(value, keras.optimizers.schedules.LearningRateSchedule) and name == "learning_rate":
                continue
            if value is not None or name == "min_delta":
                check_number(f"Phase.{name}", value, at_least=0)
                object.__setattr__(self, name, float(value))
        if self.multipliers is None:
            return
        if not isinstance(self.multipliers, Mapping):
            raise TypeError(f"Phase.multipliers maps names to factors; received {self.multipliers!r}.")
        for name, factor in self.multipliers.items():
            if not isinstance(name, str):
                raise TypeError(f"Phase.multipliers has names or globs of layers and stages, not {name!r}.")
            check_number(f"Phase.multipliers[{name!r}]", factor, at_least=0)
        # a copy: what the caller does to theirs can't change the phase
        factors = {name: float(factor) for name, factor in self.multipliers.items()}
        object.__setattr__(self, "multipliers", factors)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Phase):
            return NotImplemented
        return plain_fields(self) == plain_fields(other)

    def __hash__(self) -> int:
        return hash((self.depth, self.epochs, self.patience, self.monitor))

    @property
    def rate_text(self) -> str:
        """The learning rate in words: a number, the class of a schedule, or `as before`."""
        rate = self.learning_rate
        if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            return type(rate).__name__
        return "as before" if rate is None else f"{rate:g}"

    def _check_monitor(self) -> None:
        if self.monitor is not None and not isinstance(self.monitor, str):
            raise TypeError(f"Phase.monitor is the name of a logged number, not {self.monitor!r}.")
        if self.monitor == "":
            raise ValueError('Phase.monitor is empty; name a logged number, for instance "val_loss".')
        if self.patience is not None and self.monitor is None:
            raise ValueError(
                f"Phase(patience={self.patience}) needs to know what to watch, for instance "
                'monitor="val_loss".'
            )
        if self.ends not in ("first", "last"):
            raise ValueError(f'Phase.ends is "first" or "last", not {self.ends!r}.')
        if self.ends == "last" and (self.epochs is None or self.patience is None):
            raise ValueError(
                'Phase(ends="last") waits for the later of two ends: give it both epochs and patience. '
                f"Received epochs={self.epochs}, patience={self.patience}."
            )
        if self.mode not in ("auto", "min", "max"):
            raise ValueError(f'Phase.mode is "auto", "min" or "max", not {self.mode!r}.')

    @property
    def direction(self) -> Literal["min", "max"]:
        """Whether the better value of the monitor is the smaller or the larger one, as its name says."""
        return direction(self)

    @property
    def shortest(self) -> int | None:
        """Least number of epochs; None if the phase lasts to the end of `fit`.

        The first epoch improves (unless its monitor is not finite), so patience needs one more.
        """
        ends = [] if self.epochs is None else [self.epochs]
        ends += [] if self.patience is None else [self.patience + 1]
        return (min if self.ends == "first" else max)(ends) if ends else None

    def text(self) -> str:
        """When the phase ends, in words, such as `5 epochs or 2 without better val_loss`."""
        ends = [] if self.epochs is None else [f"{self.epochs} epoch{'s' if self.epochs > 1 else ''}"]
        ends += [] if self.patience is None else [f"{self.patience} without better {self.monitor}"]
        return (" or " if self.ends == "first" else " and ").join(ends) or "to the end"


def plain_fields(phase: Phase) -> dict[str, Any]:
    """The fields of a phase; a learning-rate schedule as Keras serializes it."""
    values = {field.name: getattr(phase, field.name) for field in fields(phase)}
    if isinstance(phase.learning_rate, keras.optimizers.schedules.LearningRateSchedule):
        values["learning_rate"] = keras.optimizers.schedules.serialize(phase.learning_rate)
    return values


# Words that no letter may follow: "top5acc" is meant, "vaccine" is not. "io_u" is how Keras writes IoU.
_LARGER_IS_BETTER = re.compile(
    r"(accuracy|acc|auc|auroc|precision|recall|iou|io_u|dice|similarity|correlation|sensitivity|specificity"
    r"|(?<![a-z])(f\d|fbeta|r2)(_?score)?)(?![a-z])"
)
_SMALLER_IS_BETTER = re.compile(
    r"(loss|error|(?<![a-z])(mae|mse|rmse|msle|rmsle|mape|smape|nll|kl|wer|cer)|perplexity|entropy|divergence"
    r"|hinge|log_?cosh|poisson|distance)(?![a-z])"
)


def direction(phase: Phase) -> Literal["min", "max"]:
    """Whether the better value of a phase's monitor is the smaller or the larger one, as its name says.

    While a model trains, `mode="auto"` goes by the model's own metric of that name first. By name, larger is
    better for words that end in acc, accuracy, auc, auroc, precision, recall, f1, fbeta, r2, iou, dice,
    similarity, correlation, sensitivity or specificity; smaller is better for loss, error, mae, mse, rmse,
    msle, mape, nll, kl, entropy, divergence, perplexity, hinge, logcosh, poisson, distance, and for every
    name that ends in loss or error.

    Args:
        phase: Its `mode` and `monitor` are read.

    Returns:
        "min" or "max"; "min" without a monitor.

    Raises:
        ValueError: The name says neither.

    Example:
        >>> direction(Phase(0, monitor="val_accuracy")), direction(Phase(0, monitor="accuracy_loss"))
        ('max', 'min')
    """
    if phase.mode != "auto":
        return phase.mode
    if phase.monitor is None:
        return "min"
    name = phase.monitor.lower()
    if re.search(r"(loss|error)(_\d+)?$", name):
        return "min"
    larger, smaller = _LARGER_IS_BETTER.search(name), _SMALLER_IS_BETTER.search(name)
    if (larger is None) == (smaller is None):
        raise ValueError(
            f"Whether more or less of {phase.monitor!r} is better, its name does not tell. "
            'Say mode="max" or mode="min".'
        )
    return "max" if larger else "min"
