"""interpolate: the average of fine-tuned and pre-trained weights (WiSE-FT), and a sweep over its share."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kerasft.arguments import check_integer, check_number
from kerasft.retention.accuracy import Scores, check_labelled
from kerasft.retention.pairing import Original, Pairs, pair
from kerasft.retention.statistics import check_inputs, moved_statistics, reestimate
from kerasft.stages import Stages
from kerasft.tables import html_table, plain_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def interpolate(
    model: keras.Model | Stages,
    original: Original,
    alpha: float,
    *,
    data: Any = None,
    shared: int | str | None = None,
) -> list[np.ndarray]:
    """WiSE-FT: set a fine-tuned model's weights to `(1 - alpha) * original + alpha * fine-tuned`.

    That holds for the stages that both have. A new head, and counters, stay as they are. Moving statistics
    of BatchNormalization are interpolated too; with `data`, those that fine-tuning has changed are estimated
    again: as the mean over batches of what the interpolated model sees in training mode.

    Args:
        model: The fine-tuned model; changed in place.
        original: The pre-trained model, or what `model.get_weights()` gave before fine-tuning. It must not
            hold the model's own variables.
        alpha: The share of the fine-tuned weights, from 0 (original) to 1 (fine-tuned).
        data: Inputs for the statistics: an array, a pair (x, y), or a `tf.data.Dataset` of batches.
        shared: How many stages both have, or the name of the first that is new; None finds it out.

    Returns:
        The fine-tuned weights: `model.set_weights` puts them back.

    Raises:
        TypeError: `original` is neither a model nor a list of arrays, or `data` are no inputs.
        ValueError: `alpha` is not from 0 to 1; the original is of another architecture, or shares its
            variables with the model; a stage of a SavedModel has statistics that can't be estimated again.

    Example:
        >>> net = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="ones")])
        >>> before = net.get_weights()
        >>> net.layers[0].kernel.assign([[3.0]]) and None
        >>> tuned = interpolate(net, before, 0.5)  # (1 + 3) / 2
        >>> float(net.layers[0].kernel[0, 0])
        2.0

    References:
        Wortsman et al. (2022), Robust fine-tuning of zero-shot models, arXiv:2109.01903.
    """
    check_number("alpha", alpha, at_least=0, at_most=1)
    mixture = _Mixture("interpolate", model, original, shared, data)
    with mixture.restored_on_error():
        mixture.set(float(alpha))
    return mixture.before


class _Mixture:
    """A fine-tuned model whose weights may be any mixture with the original's."""

    def __init__(self, function: str, model: Any, original: Any, shared: int | str | None, data: Any) -> None:
        self.pairs = pair(function, model, original, shared, trained=True)
        self.model = self.pairs.stages.model
        _check_separate(function, self.pairs)
        floats = [keras.backend.is_float_dtype(v.dtype) for v in self.pairs.variables]
        now = [v.numpy() for v in self.pairs.variables]
        zipped = zip(self.pairs.variables, self.pairs.values, now, floats, strict=True)
        self._mixed = [(v, old, new) for v, old, new, is_float in zipped if is_float]
        self._data = data
        if data is not None:
            check_inputs(function, data)
            self._statistics = moved_statistics(function, self.model, self._mixed)
        self.before = self.model.get_weights()

    def set(self, alpha: float) -> None:
        """Set the model's weights to the mixture with this share of the fine-tuned ones."""
        for variable, old, new in self._mixed:
            variable.assign((1 - alpha) * old + alpha * new)
        if self._data is not None:
            reestimate(self.model, self._statistics, self._data)

    @contextlib.contextmanager
    def restored_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.model.set_weights(self.before)
            raise


def _check_separate(function: str, pairs: Pairs) -> None:
    if pairs.shares:
        raise ValueError(
            f"{function}: the original holds the variables of {pairs.stages.model.name!r} itself, so its "
            "pre-trained values are gone. Before fine-tuning, keep before = model.get_weights() and give "
            "that, or give a clone: original = keras.models.clone_model(pretrained), then "
            "original.set_weights(pretrained.get_weights())."
        )


@dataclass(frozen=True)
class InterpolationSweep:
    """What `interpolation_sweep` found; `print` shows a table.

    Attributes:
        alphas: The shares of the fine-tuned weights, rising.
        accuracy: Accuracy on the target data at each.
        source_accuracy: Accuracy on the source data at each; None without source data.
        floor: The least accuracy on source data that was asked for, or None.
        alpha: The choice: the best accuracy on target data among those at or above the floor; of equal ones
            the smallest. None if none reaches the floor.
    """

    alphas: tuple[float, ...]
    accuracy: tuple[float, ...]
    source_accuracy: tuple[float, ...] | None = None
    floor: float | None = None

    @property
    def alpha(self) -> float | None:
        allowed = [
            i
            for i in range(len(self.alphas))
            if self.floor is None or (self.source_accuracy or self.accuracy)[i] >= self.floor
        ]
        best = max(allowed, key=lambda i: (self.accuracy[i], -self.alphas[i]), default=None)
        return None if best is None else self.alphas[best]

    def __str__(self) -> str:
        return "\n".join([plain_table(*self._table()), *self._remarks()])

    def _repr_html_(self) -> str:
        return html_table(*self._table(), notes=self._remarks())

    def _table(self) -> tuple[list[str], list[list[str]]]:
        header = ["alpha", "accuracy", *(["source accuracy"] if self.source_accuracy else []), ""]
        columns = [self.accuracy, *([self.source_accuracy] if self.source_accuracy else [])]
        rows = [
            [f"{alpha:.2f}", *(f"{column[i]:.4f}" for column in columns), "chosen" * (alpha == self.alpha)]
            for i, alpha in enumerate(self.alphas)
        ]
        return header, rows

    def _remarks(self) -> list[str]:
        if self.alpha is not None or not self.source_accuracy:
            return []
        return [f"None reaches {self.floor:g}; the most on source data is {max(self.source_accuracy):.4f}."]

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw accuracy over alpha.

        Args:
            path: Where to save the figure; its suffix says in what format. None saves nothing.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from kerasft.retention.figure import interpolation_sweep

        marks = {"floor": self.floor, "chosen": self.alpha}
        return interpolation_sweep(self.alphas, self.accuracy, self.source_accuracy, marks, path)


def interpolation_sweep(
    model: keras.Model | Stages,
    original: Original,
    data: Any,
    *,
    source: Any = None,
    alphas: int | Sequence[float] = 11,
    floor: float | None = None,
    statistics: Any = None,
    shared: int | str | None = None,
    set_choice: bool = False,
) -> InterpolationSweep:
    """Measure the accuracy of `interpolate` for several shares, and choose one.

    Nothing is built or traced again from one share to the next: weights are assigned. In the end, also after
    an error, the model has the weights that it had, unless `set_choice` asks for the choice.

    Args:
        model: The fine-tuned model.
        original: The pre-trained model, or what `model.get_weights()` gave before fine-tuning.
        data: Target data for the choice (validation, not test): (x, y), or a `tf.data.Dataset` of batches.
        source: Data that the original was trained for, in the same form. The interpolated stages are
            measured under the original's own head; if the original is a list of arrays, under the model's.
        alphas: How many shares from 0 to 1, or the shares.
        floor: The least accuracy on `source`, from 0 to 1.
        statistics: Inputs from which moving statistics are estimated again, as `data` of `interpolate`.
        shared: As in `interpolate`.
        set_choice: Whether the model gets the chosen weights, if any share reaches the floor.

    Returns:
        Accuracies and the choice.

    Raises:
        TypeError, ValueError: As in `interpolate`; or `floor` comes without `source`; or a model does not
            give a score for each class.

    References:
        Wortsman et al. (2022), arXiv:2109.01903, section 4.
    """
    shares = _shares(alphas)
    if floor is not None:
        check_number("floor", floor, at_least=0, at_most=1)
        if source is None:
            raise ValueError("`floor` is the least accuracy on source data: give source=(x, y) too.")
    check_labelled("`data`", data)
    if source is not None:
        check_labelled("`source`", source)
    mixture = _Mixture("interpolation_sweep", model, original, shared, statistics)
    theirs = mixture.pairs.theirs
    scores = Scores(mixture.model)
    old = original.model if isinstance(original, Stages) else original
    source_scores = Scores(old) if theirs and isinstance(old, keras.Model) else scores
    kept = [v.numpy() for v in theirs]
    found: list[float] = []
    on_source: list[float] = []
    try:
        for alpha in shares:
            mixture.set(alpha)
            found.append(scores.accuracy(data))
            if source is not None:
                for variable, mine in zip(theirs, mixture.pairs.variables, strict=False):
                    variable.assign(mine)
                on_source.append(source_scores.accuracy(source))
    finally:
        mixture.model.set_weights(mixture.before)
        for variable, value in zip(theirs, kept, strict=True):
            variable.assign(value)
    sweep = InterpolationSweep(shares, tuple(found), tuple(on_source) if source is not None else None, floor)
    if set_choice and sweep.alpha is not None:
        with mixture.restored_on_error():
            mixture.set(sweep.alpha)
    return sweep


def _shares(alphas: int | Sequence[float]) -> tuple[float, ...]:
    if isinstance(alphas, (int, np.integer)) and not isinstance(alphas, bool):
        check_integer("alphas", alphas, at_least=2)
        return tuple(float(a) for a in np.linspace(0, 1, alphas))
    if not isinstance(alphas, (list, tuple, np.ndarray)) or not len(alphas):
        raise TypeError(
            f"alphas is a number of shares, or a list of shares from 0 to 1; received {alphas!r}."
        )
    for alpha in alphas:
        check_number("Each of `alphas`", alpha, at_least=0, at_most=1)
    return tuple(sorted(float(a) for a in alphas))
