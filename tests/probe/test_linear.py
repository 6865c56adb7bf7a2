import numpy as np
import pytest
from probe_features import scaled
from sklearn.linear_model import LogisticRegression, Ridge

from kerasft.probe import fit_probe, held_out_scores, predictions, sample_losses

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 90)
FEATURES = RNG.normal(size=(90, 12)) * np.linspace(0.1, 5, 12) + LABELS[:, None] + 7
WIDE = np.hstack([FEATURES, RNG.normal(size=(90, 200))])


@pytest.mark.parametrize("x", [FEATURES, WIDE], ids=["more samples", "more features"])
@pytest.mark.parametrize("strength", [0.3, 0.01])
def test_equals_sklearns_minimum(x, strength):
    probe = fit_probe(x, np.eye(3)[LABELS], strengths=(strength,))
    sklearn = LogisticRegression(C=1 / (strength * len(x)), max_iter=5000, tol=1e-9)
    expected = sklearn.fit(scaled(x), LABELS).predict_proba(scaled(x))
    np.testing.assert_allclose(predictions(probe.scores(x), "softmax"), expected, atol=2e-4)
    assert probe.strength == strength


def test_equals_sklearn_for_each_of_several_outputs():
    y = np.stack([LABELS == 1, FEATURES[:, 0] > 7.5], axis=1).astype("float64")
    probe = fit_probe(FEATURES, y, "sigmoid", strengths=(0.05,))
    for k in range(2):  # the loss is the mean over two outputs, so each has half of it
        sklearn = LogisticRegression(C=1 / (2 * 0.05 * len(y)), max_iter=5000, tol=1e-9)
        expected = sklearn.fit(scaled(FEATURES), y[:, k]).predict_proba(scaled(FEATURES))[:, 1]
        np.testing.assert_allclose(predictions(probe.scores(FEATURES), "sigmoid")[:, k], expected, atol=2e-4)


def test_equals_ridge_regression():
    y = FEATURES @ RNG.normal(size=(12, 2)) + 3
    probe = fit_probe(FEATURES, y, "identity", strengths=(0.1,))
    expected = Ridge(alpha=0.1 * 2 * len(y)).fit(scaled(FEATURES), y).predict(scaled(FEATURES))
    np.testing.assert_allclose(probe.scores(FEATURES), expected, atol=2e-3)


def test_a_weight_counts_as_often_as_the_sample_would():
    weight = 1 + (LABELS == 0)
    twice = np.repeat(np.arange(90), weight)
    weighted = fit_probe(FEATURES, np.eye(3)[LABELS], strengths=(0.1,), sample_weight=weight)
    repeated = fit_probe(FEATURES[twice], np.eye(3)[LABELS[twice]], strengths=(0.1,), groups=twice)
    np.testing.assert_allclose(weighted.weights, repeated.weights, atol=1e-4)


def test_each_samples_score_is_by_a_probe_that_has_not_seen_it():
    labels = RNG.integers(0, 2, 60)  # nothing to learn: a probe that saw them would be right all the same
    noise = RNG.normal(size=(60, 300))
    probe = fit_probe(noise, np.eye(2)[labels], strengths=(1e-3,))
    assert (probe.scores(noise).argmax(1) == labels).all()
    assert (probe.held_out.argmax(1) == labels).mean() < 0.7
    losses = sample_losses(probe.held_out, np.eye(2)[labels], "softmax")
    assert probe.loss == pytest.approx(losses.mean())


@pytest.mark.parametrize("strength", [0.3, 0.01])
def test_held_out_scores_are_sklearns_on_the_same_folds(strength):
    y = np.eye(3)[LABELS]
    found = predictions(held_out_scores(WIDE, y, "softmax", strength, folds=3, seed=2), "softmax")
    fold = fit_probe(WIDE, y, strengths=(strength,), folds=3, seed=2).fold
    for k in range(3):
        sklearn = LogisticRegression(C=1 / (strength * (fold != k).sum()), max_iter=5000, tol=1e-9)
        sklearn.fit(scaled(WIDE)[fold != k], LABELS[fold != k])
        expected = sklearn.predict_proba(scaled(WIDE)[fold == k])
        np.testing.assert_allclose(found[fold == k], expected, atol=1e-2)


def test_scores_views_by_probes_that_saw_no_view_of_them():
    probe = fit_probe(FEATURES, np.eye(3)[LABELS], strengths=(0.01,))
    np.testing.assert_allclose(probe.held_out_scores(FEATURES), probe.held_out, atol=1e-6)
    moved = probe.held_out_scores(FEATURES + 0.1)
    assert np.abs(moved - probe.held_out).max() > 1e-3
    assert np.abs(moved - probe.scores(FEATURES + 0.1)).max() > 1e-3


def test_groups_stay_in_one_fold():
    labels = RNG.integers(0, 2, 30)
    noise = RNG.normal(size=(30, 200))
    views = np.tile(np.arange(30), 4)
    x, y = noise[views] + 0.01 * RNG.normal(size=(120, 200)), np.eye(2)[labels[views]]
    apart = fit_probe(x, y, strengths=(1e-3,))
    together = fit_probe(x, y, strengths=(1e-3,), groups=views)
    assert (apart.held_out.argmax(1) == y.argmax(1)).mean() > 0.95  # it has seen another view
    assert (together.held_out.argmax(1) == y.argmax(1)).mean() < 0.75


def test_the_strength_has_the_lowest_held_out_loss():
    probe = fit_probe(WIDE, np.eye(3)[LABELS])
    assert probe.strength == min(probe.losses, key=probe.losses.get)
    assert probe.losses[probe.strength] == probe.loss
    assert len(probe.losses) > 2


@pytest.mark.parametrize("standard_errors", [1.0, 2.0])
def test_the_strongest_penalty_of_those_that_are_not_clearly_worse(standard_errors):
    """By hand: the loss of each penalty on the same folds, and the error of the mean of the lowest one."""
    y, weight = np.eye(3)[LABELS], 1.0 + (LABELS == 0)
    probes = {s: fit_probe(WIDE, y, strengths=(s,), sample_weight=weight) for s in (3.0, 1.0, 0.3, 0.1, 0.03)}
    losses = {s: sample_losses(probe.held_out, y, "softmax") for s, probe in probes.items()}
    share = weight / weight.sum()
    means = {s: share @ each for s, each in losses.items()}
    lowest = min(means, key=means.get)
    error = np.sqrt(share**2 @ (losses[lowest] - means[lowest]) ** 2)
    expected = max(s for s in means if means[s] <= means[lowest] + standard_errors * error)
    assert expected > lowest
    found = fit_probe(WIDE, y, strengths=tuple(probes), standard_errors=standard_errors, sample_weight=weight)
    assert found.strength == expected
    np.testing.assert_allclose(found.weights, probes[expected].weights, atol=1e-5)
    np.testing.assert_allclose(found.held_out, probes[expected].held_out, atol=1e-3)


def test_of_many_samples_one_fold_is_held_out():
    labels = RNG.integers(0, 2, 3500)
    probe = fit_probe(RNG.normal(size=(3500, 3)) + labels[:, None], np.eye(2)[labels], strengths=(0.01,))
    assert np.isnan(probe.held_out[:, 0]).sum() == 2800


def test_a_feature_that_hardly_varies_gets_no_large_weight():
    """The smallest change of it in a new sample would change the class."""
    hardly = 1e-4 * np.where(LABELS == 1, 1.0, -1.0)[:, None] + 1e-5 * RNG.normal(size=(90, 1))
    x = np.hstack([RNG.normal(size=(90, 12)) + LABELS[:, None], hardly])
    probe = fit_probe(x, np.eye(3)[LABELS], strengths=(0.01,))
    assert np.abs(probe.weights[-1]).max() < np.abs(probe.weights[:-1]).max() / 10
    moved = x + np.array([0.0] * 12 + [1e-2])
    np.testing.assert_allclose(probe.scores(moved), probe.scores(x), atol=1e-3)


def test_features_of_other_units_are_used_alike():
    """A column in meters and the same in millimeters: the larger numbers do not drown the rest."""
    units = np.array([1e3] + [1.0] * 11)
    x = RNG.normal(size=(90, 12)) + LABELS[:, None]
    one, other = (fit_probe(v, np.eye(3)[LABELS]) for v in (x, x * units))
    assert other.loss < one.loss + 0.1
    assert np.ptp(x[:, 1:] @ other.weights[1:], axis=1).mean() > 0.5


def test_a_feature_that_never_changes_gets_no_weight():
    x = np.hstack([FEATURES, np.full((90, 1), 3.0)])
    probe = fit_probe(x, np.eye(3)[LABELS], strengths=(0.1,))
    assert (probe.weights[-1] == 0).all()
    np.testing.assert_allclose(
        probe.scores(x), fit_probe(FEATURES, np.eye(3)[LABELS], strengths=(0.1,)).scores(FEATURES), atol=1e-4
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((FEATURES, np.eye(3)[LABELS], "probit"), "No link is named 'probit'. There are"),
        ((FEATURES, LABELS), r"it got \(90, 12\), \(90,\)"),
        ((FEATURES[:5], np.eye(3)[LABELS]), r"it got \(5, 12\), \(90, 3\)"),
        ((FEATURES[:1], np.eye(3)[LABELS[:1]]), "at least two samples"),
        ((np.where(FEATURES > 20, np.nan, FEATURES), np.eye(3)[LABELS]), "of 90 samples have features that"),
    ],
)
def test_refuses_what_does_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_probe(*arguments)


def test_refuses_standard_errors_below_zero():
    with pytest.raises(ValueError, match="standard_errors"):
        fit_probe(FEATURES, np.eye(3)[LABELS], standard_errors=-1.0)
