"""The linear probe: the best linear layer on features that do not change, and how good it is.

The loss with an L2 penalty is convex, so L-BFGS finds its one minimum; nothing is drawn by chance but the
folds. How strong the penalty should be, and how good the probe is on samples that it has not seen, is
measured by cross-validation. All penalized minima lie in the span of the samples, so the features are first
turned into as many numbers as there are samples, where there are more features than samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from kerasft.arguments import check_number

Array: TypeAlias = np.ndarray
Link: TypeAlias = Literal["softmax", "sigmoid", "identity"]
"""What turns scores into predictions: "softmax" (one class of several, cross-entropy), "sigmoid" (each output
by itself, binary cross-entropy) or "identity" (numbers, half the squared error). Losses are means over
samples and outputs."""
STRENGTHS = (3.0, 1.0, 3e-1, 1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
_WORSE = 1.02  # a weaker penalty is not tried after one whose loss is that many times the lowest
_MANY = 3000  # samples, or groups of them, of which one held-out fold tells enough
_STEPS = 500
_ROUGH = 3e-3  # of the penalty, the slope at which scores are known to two digits


@dataclass(frozen=True)
class LinearProbe:
    """A linear layer on features, as `fit_probe` finds it.

    Attributes:
        weights: (features, outputs), for the features as they are given.
        bias: (outputs,).
        link: What turns scores into predictions.
        strength: The penalty on the weights of the scaled features, for the mean loss of a sample.
        losses: The loss of samples in folds that were held out, for each strength that was tried.
        held_out: (samples, outputs), each sample's scores by a probe that has not seen it; NaN where a sample
            was in no fold that was held out.
        loss: The mean loss of the scores in `held_out`.
        fold: (samples,), the fold of each sample.
        fold_layers: For each fold that was held out the weights and the bias of the probe of the others.
        targets: (samples, outputs), what it was fitted to.
        sample_weight: (samples,), what each sample counted.
    """

    weights: Array
    bias: Array
    link: Link
    strength: float
    losses: dict[float, float]
    held_out: Array
    loss: float
    fold: Array
    fold_layers: dict[int, tuple[Array, Array]]
    targets: Array
    sample_weight: Array

    def scores(self, features: Array) -> Array:
        """Scores before the link, (samples, outputs)."""
        return np.asarray(features, "float64") @ self.weights + self.bias

    def held_out_scores(self, features: Array) -> Array:
        """Scores of other views of the same samples, in the same order, by probes that saw no view of them.

        Args:
            features: (samples, features), of augmented samples for instance.

        Returns:
            (samples, outputs); NaN where `held_out` is.
        """
        found = np.full(self.held_out.shape, np.nan)
        for fold, (weights, bias) in self.fold_layers.items():
            rows = self.fold == fold
            found[rows] = np.asarray(features, "float64")[rows] @ weights + bias
        return found


def fit_probe(
    features: Array,
    targets: Array,
    link: Link = "softmax",
    *,
    strengths: tuple[float, ...] = STRENGTHS,
    standard_errors: float = 0.0,
    folds: int = 5,
    sample_weight: Array | None = None,
    groups: Array | None = None,
    seed: int = 0,
) -> LinearProbe:
    """Find the best linear layer on features, its penalty chosen by cross-validation.

    For the penalty each feature is brought to mean 0 and divided by its standard deviation, or by the upper
    quartile of all features' standard deviations where that is larger: one that hardly varies in the samples
    gets no large weight, which would make of a small change of it in other samples a large one of the scores.
    The weights are given back for the features as they are.

    Of more than 3,000 samples or groups one fold is held out, else each in turn.

    Args:
        features: (samples, features).
        targets: (samples, outputs): ones and zeros, probabilities, or numbers for "identity".
        link: What turns scores into predictions.
        strengths: Penalties to choose from.
        standard_errors: How many standard errors above the lowest loss the loss of the penalty that is chosen
            may lie: of those that do, the strongest is chosen, for a layer that is less sure of the samples
            that it has seen. 0 chooses the lowest loss, 1 is the rule of Breiman et al.
        folds: How many parts the samples are divided into; each class goes to all of them as far as it can.
        sample_weight: (samples,), what each sample counts.
        groups: (samples,), whose samples stay in one fold, such as views of one picture; None for none.
        seed: Of the division.

    Returns:
        The probe.

    Raises:
        ValueError: Shapes that do not belong together, no strength, `standard_errors` below 0, fewer than
            two samples or groups, a link that does not exist, or a feature that is not finite.

    Example:
        >>> x = np.array([[0.0], [1.0], [2.0], [3.0]])
        >>> probe = fit_probe(x, np.eye(2)[[0, 0, 1, 1]], folds=2)
        >>> probe.scores(x).argmax(1).tolist()
        [0, 0, 1, 1]

    References:
        Breiman et al. (1984), Classification and Regression Trees, section 3.4.3.
    """
    x, y, w, group = _checked(features, targets, link, strengths, sample_weight, groups)
    check_number("standard_errors", standard_errors, at_least=0)
    with threadpool_limits(1 if len(x) <= _MANY else None, "blas"):  # in small products threads wait
        return _fitted(x, y, w, group, link, strengths, standard_errors, folds, seed)


def _fitted(
    x: Array,
    y: Array,
    w: Array,
    group: Array,
    link: Link,
    strengths: tuple[float, ...],
    standard_errors: float,
    folds: int,
    seed: int,
) -> LinearProbe:
    rotated, axes, mean, scale = _scaled(x, w)
    fold = _folds(y, group, folds, seed, link)
    held = _held(fold, group)

    losses: dict[float, float] = {}
    errors: dict[float, float] = {}
    out_of_fold: dict[float, Array] = {}
    layers: dict[float, dict[int, Array]] = {}
    last: dict[int, Array] = {}
    for strength in sorted(strengths, reverse=True):
        scores = np.full(y.shape, np.nan)
        for k in held:
            train, test = fold != k, fold == k
            last[k] = _minimum(rotated[train], y[train], w[train], link, strength, last.get(k))
            scores[test] = _linear(rotated[test], last[k])
        layers[strength] = dict(last)
        seen = ~np.isnan(scores[:, 0])
        each = sample_losses(scores[seen], y[seen], link)
        losses[strength] = float(np.average(each, weights=w[seen]))
        share = w[seen] / w[seen].sum()
        errors[strength] = float(np.sqrt(share**2 @ (each - losses[strength]) ** 2))
        out_of_fold[strength] = scores
        if losses[strength] > _WORSE * min(losses.values()):
            break
    lowest = min(losses, key=lambda s: losses[s])
    most = losses[lowest] + standard_errors * errors[lowest]
    best = max(s for s in losses if losses[s] <= most)

    def as_given(layer: Array) -> tuple[Array, Array]:
        """Weights and bias for the features as they are given."""
        weights = axes @ layer[:-1] / scale[:, None]
        return weights, layer[-1] - mean @ weights

    weights, bias = as_given(_minimum(rotated, y, w, link, best, None))
    return LinearProbe(
        weights,
        bias,
        link,
        best,
        losses,
        out_of_fold[best],
        losses[best],
        fold,
        {k: as_given(layer) for k, layer in layers[best].items()},
        y,
        w,
    )


def held_out_scores(
    features: Array,
    targets: Array,
    link: Link,
    strength: float,
    *,
    folds: int = 5,
    sample_weight: Array | None = None,
    groups: Array | None = None,
    seed: int = 0,
) -> Array:
    """Each sample's scores by a probe of a known penalty that has not seen it, to about two digits.

    Args:
        features, targets, link, folds, sample_weight, groups, seed: As in `fit_probe`.
        strength: The penalty.

    Returns:
        (samples, outputs); NaN where a sample was in no fold that was held out.

    Raises:
        ValueError: As in `fit_probe`.

    Example:
        >>> x = np.array([[0.0], [1.0], [5.0], [6.0]])
        >>> held_out_scores(x, np.eye(2)[[0, 0, 1, 1]], "softmax", 0.1, folds=2).argmax(1).tolist()
        [0, 0, 1, 1]
    """
    x, y, w, group = _checked(features, targets, link, (strength,), sample_weight, groups)
    with threadpool_limits(1 if len(x) <= _MANY else None, "blas"):
        rotated, *_ = _scaled(x, w)
        fold, scores = _folds(y, group, folds, seed, link), np.full(y.shape, np.nan)
        for k in _held(fold, group):
            train, test = fold != k, fold == k
            layer = _minimum(rotated[train], y[train], w[train], link, strength, None, _ROUGH * strength)
            scores[test] = _linear(rotated[test], layer)
    return scores


def predictions(scores: Array, link: Link) -> Array:
    """Scores as predictions, (samples, outputs)."""
    if link == "identity":
        return scores
    if link == "sigmoid":
        return np.exp(-np.logaddexp(0, -scores))
    shifted = np.exp(scores - scores.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def rightness(scores: Array, targets: Array, link: Link) -> Array:
    """How right each sample's scores are, (samples,): their mean is the accuracy, or minus the squared error.

    Args:
        scores: (samples, outputs), before the link.
        targets: (samples, outputs).
        link: "softmax": 1 for the right class and 0 for another; "sigmoid": the part of the outputs that is
            right; "identity": minus the mean squared error.
    """
    if link == "softmax":
        return (scores.argmax(1) == targets.argmax(1)).astype("float64")
    if link == "sigmoid":
        return ((scores > 0) == (targets > 0.5)).mean(1)
    return -((scores - targets) ** 2).mean(1)


def sample_losses(scores: Array, targets: Array, link: Link) -> Array:
    """The loss of each sample, (samples,)."""
    if link == "softmax":
        top = scores.max(1)
        total = top + np.log(np.exp(scores - top[:, None]).sum(1))
        return total * targets.sum(1) - (scores * targets).sum(1)
    if link == "sigmoid":
        return (np.logaddexp(0, scores) - scores * targets).mean(1)
    return 0.5 * ((scores - targets) ** 2).mean(1)


def _linear(x: Array, layer: Array) -> Array:
    return x @ layer[:-1] + layer[-1]


def _minimum(
    x: Array, y: Array, w: Array, link: Link, strength: float, start: Array | None, slope: float = 1e-6
) -> Array:
    """The layer with the lowest penalized loss, where no slope is steeper: weights, then the bias."""
    shape = (x.shape[1] + 1, y.shape[1])
    share = w / w.sum()
    outputs = 1 if link == "softmax" else y.shape[1]

    def penalized(flat: Array) -> tuple[float, Array]:
        layer = flat.reshape(shape)
        scores = _linear(x, layer)
        loss = share @ sample_losses(scores, y, link) + 0.5 * strength * (layer[:-1] ** 2).sum()
        wanted = y.sum(1, keepdims=True) if link == "softmax" else 1.0
        error = share[:, None] * (predictions(scores, link) * wanted - y) / outputs
        slopes = np.vstack([x.T @ error + strength * layer[:-1], error.sum(0)])
        return float(loss), slopes.ravel()

    first = np.zeros(shape) if start is None else start
    done = minimize(
        penalized, first.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": _STEPS, "gtol": slope}
    )
    return np.asarray(done.x).reshape(shape)


def _held(fold: Array, groups: Array) -> list[int]:
    """The folds that are held out."""
    return sorted(set(fold.tolist()))[: 1 if len(np.unique(groups)) > _MANY else None]


def _scaled(x: Array, w: Array) -> tuple[Array, Array, Array, Array]:
    """Samples of mean 0 and bounded variance by axes of their span, the axes, features' mean and scale."""
    mean = (w[:, None] * x).sum(0) / w.sum()
    deviation = np.sqrt((w[:, None] * (x - mean) ** 2).sum(0) / w.sum())
    varies = deviation > 1e-6 * max(deviation.max(), 1e-30)
    least = np.quantile(deviation[varies], 0.75) if varies.any() else 0.0
    scale = np.where(varies, np.maximum(deviation, least), np.inf)
    return *_in_their_span((x - mean) / scale), mean, scale


def _in_their_span(x: Array) -> tuple[Array, Array]:
    """Samples by orthonormal axes of their span, and the axes, (features, axes)."""
    if x.shape[1] <= x.shape[0]:
        return x, np.eye(x.shape[1])
    axes, samples = np.linalg.qr(x.T)
    return samples.T, axes


def _folds(y: Array, groups: Array, count: int, seed: int, link: Link) -> Array:
    """The fold of each sample: groups stay together, and each class goes to all folds in turn."""
    names, first = np.unique(groups, return_index=True)
    order = np.random.default_rng(seed).permutation(len(names))
    if link == "softmax":
        label = y[first].argmax(1)
        order = order[np.argsort(label[order], kind="stable")]
    turn = np.empty(len(names), int)
    turn[order] = np.arange(len(names)) % min(count, len(names))
    return turn[np.searchsorted(names, groups)]


def _checked(
    features: Array,
    targets: Array,
    link: str,
    strengths: tuple[float, ...],
    sample_weight: Array | None,
    groups: Array | None,
) -> tuple[Array, Array, Array, Array]:
    x, y = np.asarray(features, "float64"), np.asarray(targets, "float64")
    w = np.ones(len(x)) if sample_weight is None else np.asarray(sample_weight, "float64")
    group = np.arange(len(x)) if groups is None else np.asarray(groups)
    if link not in get_args(Link):
        raise ValueError(f"No link is named {link!r}. There are {list(get_args(Link))}.")
    if not strengths:
        raise ValueError("fit_probe needs at least one strength of the penalty to choose from.")
    if x.ndim != 2 or y.ndim != 2 or not len(x) == len(y) == len(w) == len(group):
        raise ValueError(
            "fit_probe takes features (samples, features) and targets (samples, outputs), and a weight and a "
            f"group for each sample; it got {x.shape}, {y.shape}, {w.shape} and {group.shape}."
        )
    if len(np.unique(group)) < 2:
        raise ValueError("Cross-validation needs at least two samples, or two groups of them.")
    if not np.isfinite(x).all():
        raise ValueError(
            f"{int((~np.isfinite(x)).any(1).sum())} of {len(x)} samples have features that are not finite."
        )
    return x, y, w, group
