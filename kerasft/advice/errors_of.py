"""How wrong a probe is on samples that it has not seen, with standard errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kerasft.probe import LinearProbe, Link, fit_probe, rightness

Array = np.ndarray
STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)  # twice as coarse as for a head: each stage is probed


@dataclass(frozen=True)
class Task:
    """Targets, and what counts as an error in them.

    An error is 1 for a wrong class; the share of wrong columns for several yes-or-no columns; for numbers the
    squared distance in units of their variance, so that 1 minus the mean error is R².

    Attributes:
        wanted: (samples, outputs).
        link: What scores are turned into.
        weights: (samples,), what each sample counts.
        seed: Of the folds.
    """

    wanted: Array
    link: Link
    weights: Array
    seed: int = 0

    @property
    def measure(self) -> str:
        """The name of 1 minus the mean error."""
        return "R²" if self.link == "identity" else "accuracy"

    def errors(self, scores: Array) -> Array:
        """The error of each sample, (samples,)."""
        if self.link != "identity":
            return 1 - rightness(scores, self.wanted, self.link)
        mean = np.average(self.wanted, axis=0, weights=self.weights)
        variance = np.average((self.wanted - mean) ** 2, axis=0, weights=self.weights)
        return ((scores - self.wanted) ** 2 / variance).mean(1)

    def fitted(self, features: Array, rows: Array | None = None) -> LinearProbe:
        """A cross-validated probe on the samples, or on some rows of them."""
        rows = np.arange(len(features)) if rows is None else rows
        return fit_probe(
            features[rows],
            self.wanted[rows],
            self.link,
            strengths=STRENGTHS,
            sample_weight=self.weights[rows],
            seed=self.seed,
        )

    def mean(self, errors: Array) -> tuple[float, float]:
        """The mean of a number of each sample, and its standard error.

        Samples without a number are left out. The standard error is that of samples drawn by chance, for the
        probe as it is; where errors are counted, it is at least what one sample makes, so that no error in a
        few samples is not taken for certainty.
        """
        there = ~np.isnan(errors)
        errors, weights = errors[there], self.weights[there]
        share = weights / weights.sum()
        mean = float(share @ errors)
        error = float(np.sqrt((share**2 * (errors - mean) ** 2).sum()))
        return mean, error if self.link == "identity" else max(error, float(share.max()))


def times(difference: tuple[float, float]) -> float:
    """How many standard errors a difference is."""
    mean, error = difference
    return mean / error if error > 0 else float(np.sign(mean)) * np.inf if mean else 0.0
