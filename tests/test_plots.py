"""Figures: what is drawn, and files that are whole or not there."""

import builtins

import pytest

from kerasft import plots

RATES = [1e-4, 1e-3, 1e-2, 1e-1]


def test_a_learning_rate_curve(tmp_path):
    figure = plots.learning_rate_curve(
        RATES, [2.0, 1.8, 1.0, 9.0], [2.0, 1.9, 1.4, 5.0], {"valley": 1e-3}, tmp_path / "curve.png"
    )
    (axes,) = figure.axes
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "learning rate"
    assert [line.get_label() for line in axes.lines] == ["loss of one step", "smoothed", "valley: 1.0e-03"]
    assert list(axes.lines[1].get_ydata()) == [2.0, 1.9, 1.4, 5.0]
    assert [p.name for p in tmp_path.iterdir()] == ["curve.png"]
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


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


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="'kerasft.plots' has no attribute 'loss_curve'"):
        getattr(plots, "loss_curve")  # noqa: B009
