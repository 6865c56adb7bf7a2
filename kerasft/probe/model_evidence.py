"""LogME: how well features fit targets, by the evidence of a Bayesian linear model; nothing is trained."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from kerasft.probe.linear import Array

_ROUNDS, _TOLERANCE = 100, 1e-6
_MANY = 3000  # samples from which threads of a product do not wait for each other


def logme(features: Array, targets: Array) -> float:
    """The mean logarithm of the largest evidence of linear models, one for each target.

    The weights of such a model are normal around 0, and so are its errors. Their two variances are those for
    which the targets are most probable, with all weights integrated out, so that no sample is held out.

    Args:
        features: (samples, features).
        targets: (samples, outputs); of classes ones and zeros.

    Returns:
        The evidence of a sample; the higher, the better. Only values for the same targets can be compared.

    Raises:
        ValueError: Shapes that do not belong together.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = np.eye(2)[np.arange(40) % 2]
        >>> logme(y + rng.normal(size=y.shape), y) > logme(rng.normal(size=y.shape), y)
        True

    References:
        You et al. (2021), LogME: practical assessment of pre-trained models, arXiv:2102.11005.
    """
    x, y = np.asarray(features, "float64"), np.asarray(targets, "float64")
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or not len(x):
        raise ValueError(
            "logme takes features (samples, features) and targets (samples, outputs); it got "
            f"{x.shape} and {y.shape}."
        )
    with threadpool_limits(1 if len(x) <= _MANY else None, "blas"):  # in small products threads wait
        axes, size, _ = np.linalg.svd(x, full_matrices=False)
        return float(np.mean([_evidence(axes.T @ column, column, size**2, x.shape[1]) for column in y.T]))


def _evidence(along: Array, y: Array, squares: Array, features: int) -> float:
    """The largest evidence of a sample for one target.

    Args:
        along: The target by the axes of the samples.
        y: The target.
        squares: The squared singular values of the features.
        features: Their number.
    """
    count, outside = len(y), float(y @ y - along @ along)
    prior = noise = 1.0  # the precisions of weights and of errors
    last = -np.inf
    for _ in range(_ROUNDS):
        shrunk = noise * squares / (prior + noise * squares)
        size = float((noise**2 * squares * along**2 / (prior + noise * squares) ** 2).sum())
        error = float((((1 - shrunk) * along) ** 2).sum()) + max(outside, 0.0)
        evidence = 0.5 * (
            count * np.log(noise / (2 * np.pi))
            + features * np.log(prior)
            - noise * error
            - prior * size
            - np.log(prior + noise * squares).sum()
            - (features - len(squares)) * np.log(prior)
        )
        if abs(evidence - last) <= _TOLERANCE * abs(evidence):
            break
        last = evidence
        known = float(shrunk.sum())
        prior, noise = known / max(size, 1e-12), (count - known) / max(error, 1e-12)
    return float(evidence / count)
