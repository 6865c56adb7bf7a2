"""The learning curve of a probe: how good it is with fewer samples, and would be with twice as many."""

from __future__ import annotations

import numpy as np

from kerasft.advice.errors_of import Task

Array = np.ndarray
PARTS = (8, 4, 2)
_LEAST = 2  # samples of a class in a part: one to fit, one to hold out


def errors_by_size(task: Task, features: Array, whole: Array) -> dict[int, Array]:
    """Errors of probes on parts of the samples: from the number of parts to the error of each sample.

    The samples are divided into 8, 4 and 2 parts, and a probe of each part is cross-validated within it: so
    each sample has an error at each size, and their differences are paired. Parts are left out where they
    would hold a class, or a number of any kind, fewer than twice.

    Args:
        task: Targets and errors.
        features: (samples, features).
        whole: The errors of the probe of all samples.
    """
    found = {}
    order = np.random.default_rng(task.seed).permutation(len(features))
    fewest = len(features)
    if task.link == "softmax":
        labels = task.wanted.argmax(1)
        order = order[np.argsort(labels[order], kind="stable")]
        fewest = int(np.unique(labels, return_counts=True)[1].min())
    turn = np.empty(len(features), int)
    turn[order] = np.arange(len(features))
    for parts in PARTS:
        if fewest < _LEAST * parts:
            continue
        scores = np.full(task.wanted.shape, np.nan)
        for part in range(parts):
            rows = np.flatnonzero(turn % parts == part)
            scores[rows] = task.fitted(features, rows).held_out
        errors = task.errors(scores)
        errors[np.isnan(scores[:, 0])] = np.nan
        found[parts] = errors
    return found | {1: whole}


def extrapolated(sizes: Array, errors: Array, deviations: Array, wanted: float) -> tuple[float, float]:
    """The error at another number of samples by a power law, and its standard error.

    `log(error) = a - b log(size)` is fitted to the errors by weighted least squares, with b of at least 0.

    Args:
        sizes: Numbers of samples, at least two.
        errors: The mean error at each, above 0.
        deviations: Their standard errors.
        wanted: The number of samples in question.

    References:
        Hestness et al. (2017), Deep learning scaling is predictable, empirically, arXiv:1712.00409.
    """
    logs, weights = np.log(errors), (errors / deviations) ** 2
    x = np.stack([np.ones(len(sizes)), np.log(sizes)], 1)
    spread = np.linalg.inv((weights[:, None] * x).T @ x)
    slope = spread @ (x.T @ (weights * logs))
    at = np.array([1.0, np.log(wanted)])
    if slope[1] > 0:
        slope, spread = np.array([np.average(logs, weights=weights), 0.0]), np.diag([1 / weights.sum(), 0.0])
    error = float(np.exp(at @ slope))
    return error, error * float(np.sqrt(at @ spread @ at))
