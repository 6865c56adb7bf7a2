"""Figures: what is drawn, and files that are whole or not there."""

import builtins

import pytest

from kerasft import plots

RATES = [1e-4, 1e-3, 1e-2, 1e-1]


def test_a_figure_that_fails_leaves_no_file(tmp_path):
    with pytest.raises(ValueError):
        plots.learning_rate_curve(RATES, RATES, RATES, {}, tmp_path / "curve.xyz")
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    original = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"kerasft\[plots\]"):
        plots.learning_rate_curve(RATES, RATES, RATES, {})


def test_users_find_the_figures_here_and_nothing_else():
    from kerasft.learning_rates.figure import learning_rate_curve

    assert plots.learning_rate_curve is learning_rate_curve


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="'kerasft.plots' has no attribute 'loss_curve'"):
        getattr(plots, "loss_curve")  # noqa: B009
