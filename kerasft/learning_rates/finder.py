"""An exponential learning-rate range test that leaves the model as it was."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kerasft import _keras
from kerasft.arguments import check_integer, check_number
from kerasft.learning_rates.figure import learning_rate_curve
from kerasft.typing import Logs

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_NO_BATCH = "The data hold no batch, so there is nothing to measure."


@dataclass(frozen=True)
class LearningRateCurve:
    """The measurements of a range test.

    Attributes:
        learning_rates: Base learning rate of each step, rising.
        losses: Loss of each step, before its update.
        smoothed: The same as an exponential moving average, corrected for its beginning.
        steepest: The rate at which the smoothed loss falls fastest against the logarithm of the rate.
        valley: The rate two thirds down the longest stretch in which the smoothed loss falls; the safer one.
        diverged: Whether the test ended early because the loss exploded.
    """

    learning_rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    steepest: float
    valley: float
    diverged: bool

    @property
    def suggestion(self) -> float:
        """The rate to begin with: `valley`."""
        return self.valley

    def __str__(self) -> str:
        low, high = self.learning_rates[[0, -1]]
        end = "the loss exploded" if self.diverged else "the loss did not explode"
        first = " (the first rate tried: it may be lower)" if self.steepest == low else ""
        return (
            f"{len(self.losses)} steps from {low:.1e} to {high:.1e}, where {end}. "
            f"Valley {self.valley:.1e}, steepest slope {self.steepest:.1e}{first}."
        )

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw the curve with both suggestions, and save it if there is a path."""
        marks = {"valley": self.valley, "steepest slope": self.steepest}
        return learning_rate_curve(
            self.learning_rates.tolist(), self.losses.tolist(), self.smoothed.tolist(), marks, path
        )


def find_learning_rate(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    lowest: float = 1e-7,
    highest: float = 10.0,
    steps: int = 100,
    smoothing: float = 0.9,
    stop_factor: float = 4.0,
    **fit_arguments: Any,
) -> LearningRateCurve:
    """Train at learning rates that rise exponentially, and see where the loss falls and where it explodes.

    The layers train that would train now; factors of `with_lr_multipliers` hold. Weights, optimizer, moving
    statistics and the states of random generators are afterwards what they were, to the bit, after an error
    as well. (An optimizer that was not built is afterwards, in its fresh state.)

    Args:
        model: A compiled model.
        x: Data as for `model.fit`, taken several times if they are short.
        y: Targets, where `x` does not hold them.
        lowest: Learning rate of the first step.
        highest: Learning rate of the last step.
        steps: How many optimizer steps.
        smoothing: Weight of the past in the moving average of the loss, from 0 to below 1.
        stop_factor: The test ends when the smoothed loss exceeds this multiple of its minimum.
        **fit_arguments: For `model.fit`: `batch_size`, `class_weight`, `sample_weight`, `steps_per_epoch`.

    Returns:
        The curve, with suggestions.

    Raises:
        TypeError, ValueError: The model is not compiled or has nothing to train, an argument is out of
            range, there are no data, or the loss falls at no rate above the first: the range has to begin
            lower, or to go higher.

    Example:
        ```python
        curve = kerasft.find_learning_rate(model, train)
        print(curve)
        model.optimizer.learning_rate = curve.suggestion
        ```

    References:
        Smith (2017), arXiv:1506.01186, section 3.3.
    """
    _check(model, lowest, highest, steps, smoothing, stop_factor)
    test = _RangeTest(np.geomspace(lowest, highest, steps), smoothing, stop_factor)
    if y is not None:
        fit_arguments["y"] = y
    with _restoring(model), _keras.settable_rate(model) as test.optimizer, test.restoring():
        model.fit(x, epochs=10**6, verbose=0, callbacks=[test], **fit_arguments)
    if not test.losses:
        raise ValueError(_NO_BATCH)
    rates, losses = test.rates[: len(test.losses)], np.array(test.losses)
    smoothed = np.array(test.smoothed)
    usable = smoothed[np.isfinite(smoothed)]
    if len(usable) < 2:
        raise ValueError(
            f"The loss is not finite from step {len(usable)} on, at a learning rate of {rates[-1]:.1e}. "
            "Lower `lowest`, or check that the model's loss is finite at all."
        )
    finite = len(usable)
    rates, valley = rates[:finite], _valley(rates[:finite], usable)
    fall = float((np.maximum.accumulate(usable) - usable).max())
    if valley < rates[1] or fall <= 1e-6 * abs(float(usable[0])):  # which is float32's noise
        raise ValueError(_no_fall(rates, usable, test.diverged))
    return LearningRateCurve(rates, losses[:finite], usable, _steepest(rates, usable), valley, test.diverged)


def _check(
    model: object, lowest: float, highest: float, steps: int, smoothing: float, stop_factor: float
) -> None:
    if not isinstance(model, keras.Model):
        raise TypeError(f"find_learning_rate expects a Keras model, not {type(model).__name__}.")
    if not model.compiled or model.optimizer is None:
        raise ValueError("The model is not compiled: call model.compile(optimizer, loss) first.")
    if model.built and not model.trainable_variables:
        raise ValueError(
            "The model has nothing to train: thaw a part of it, say by kerasft.freeze(model, depth)."
        )
    check_number("lowest", lowest, above=0)
    check_number("highest", highest, above=lowest)
    check_integer("steps", steps, at_least=10)
    check_number("smoothing", smoothing, at_least=0, below=1)
    if stop_factor != math.inf:  # which lets only a loss that is not finite end the test
        check_number("stop_factor", stop_factor, above=1)


class _RangeTest(keras.callbacks.Callback):
    """Set the rate of each step and record its loss."""

    def __init__(self, rates: np.ndarray, smoothing: float, stop_factor: float) -> None:
        super().__init__()
        self.rates = rates
        self.smoothing = smoothing
        self.stop_factor = stop_factor
        self.optimizer: keras.optimizers.Optimizer = None
        self.losses: list[float] = []
        self.smoothed: list[float] = []
        self.diverged = False
        self._saved: list[tuple[keras.Variable, np.ndarray]] = []
        self._window: list[float] = []

    def on_train_begin(self, logs: Logs = None) -> None:
        variables = [*self.model.variables, *_keras.optimizer_variables(self.model.optimizer)]
        self._saved = [(v, v.numpy()) for v in variables]
        self._average = 0.0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._batches = 0

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if not self._batches:  # nor will a later epoch have one, and there are very many
            raise ValueError(_NO_BATCH)

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """Put back every variable when the block ends."""
        try:
            yield
        finally:
            for variable, value in self._saved:
                variable.assign(value)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self.model.reset_metrics()
        self.optimizer.learning_rate = self.rates[len(self.losses)]

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._batches += 1  # not as it begins: Keras begins one before it sees that there is none
        self._window.append(float((logs or {})["loss"]))
        if len(self._window) < (self.optimizer.gradient_accumulation_steps or 1):
            return  # the rate is used when the window is complete
        loss, self._window = float(np.mean(self._window)), []
        self.losses.append(loss)
        self._average = self.smoothing * self._average + (1 - self.smoothing) * loss
        smoothed = self._average / (1 - self.smoothing ** len(self.losses))
        self.smoothed.append(smoothed)
        best = min(self.smoothed)
        # losses may be negative: what counts is the rise above the best, in units of the fall before it
        limit = best + (self.stop_factor - 1) * max(abs(best), self.smoothed[0] - best)
        self.diverged = not math.isfinite(loss) or (len(self.losses) > 5 and smoothed > limit)
        if self.diverged or len(self.losses) == len(self.rates):
            self.model.stop_training = True


@contextmanager
def _restoring(model: keras.Model) -> Iterator[None]:
    """Put back what `fit` leaves on a model, and the global random states."""
    kept = {name: getattr(model, name, None) for name in ("stop_training", "history")}
    states = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(model, name, value)
        random.setstate(states[0])
        np.random.set_state(states[1])
        model.reset_metrics()


def _no_fall(rates: np.ndarray, smoothed: np.ndarray, diverged: bool) -> str:
    """Say what to do where the loss falls at the first rate alone, or at none."""
    tried = f"The loss falls at no learning rate above the first one, {rates[0]:.1e}, up to {rates[-1]:.1e}"
    rise, size = float(smoothed.max() - smoothed[0]), max(abs(float(smoothed[0])), 1e-12)
    if diverged or rise > 1e-3 * size:
        return (
            f"{tried}, and it rises: the range begins too high. Lower `lowest`, say to {rates[0] / 1e3:.1e}."
        )
    return (
        f"{tried}, and it hardly moves. Raise `highest` if the range is too low, and check that what trains "
        "can change the loss."
    )


def _steepest(rates: np.ndarray, smoothed: np.ndarray) -> float:
    """Find the rate of steepest descent, before the least loss."""
    slopes = np.gradient(smoothed, np.log(rates))[: max(2, int(np.argmin(smoothed)) + 1)]
    return float(rates[int(np.argmin(slopes))])


def _valley(rates: np.ndarray, smoothed: np.ndarray) -> float:
    """Find the rate two thirds down the longest subsequence of falling losses."""
    length = np.ones(len(smoothed), int)
    before = np.full(len(smoothed), -1)
    for i in range(1, len(smoothed)):
        higher = np.flatnonzero(smoothed[:i] > smoothed[i])
        if len(higher):
            best = higher[int(np.argmax(length[higher]))]
            length[i], before[i] = length[best] + 1, best
    end = start = int(np.argmax(length))
    while before[start] >= 0:
        start = int(before[start])
    return float(np.exp(np.log(rates[start]) * (1 / 3) + np.log(rates[end]) * (2 / 3)))
