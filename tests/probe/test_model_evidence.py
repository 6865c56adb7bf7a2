import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from kerasft.probe import logme

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(12, 4), (6, 9)])
def test_equals_the_largest_density_of_the_targets(shape):
    x = RNG.normal(size=shape)
    y = x @ RNG.normal(size=(shape[1], 2)) + 0.7 * RNG.normal(size=(shape[0], 2))

    def best(column):
        """With all weights integrated out the targets are normal, with this covariance."""

        def negative(logs):
            weights, errors = np.exp(logs)
            covariance = weights * x @ x.T + errors * np.eye(len(x))
            return -multivariate_normal.logpdf(column, np.zeros(len(x)), covariance)

        starts = [(a, b) for a in (-2, 0, 2) for b in (-2, 0, 2)]
        return -min(minimize(negative, start, method="Nelder-Mead").fun for start in starts)

    expected = np.mean([best(column) / len(x) for column in y.T])
    assert logme(x, y) == pytest.approx(expected, abs=1e-3)


def test_ranks_features_by_what_they_tell():
    y = np.eye(3)[RNG.integers(0, 3, 90)]
    noise = RNG.normal(size=(90, 20))
    ranks = [logme(noise + strength * y @ RNG.normal(size=(3, 20)), y) for strength in (0, 1, 4)]
    assert ranks == sorted(ranks)


def test_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"it got \(3, 2\) and \(4, 1\)"):
        logme(np.ones((3, 2)), np.ones((4, 1)))
