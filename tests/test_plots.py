"""Figures: what is drawn, and files that are whole or not there."""

import builtins

import pytest

from kerasft import plots
from kerasft.search.results.record import TrialRecord

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


def test_trials_by_depth(tmp_path):
    records = [
        TrialRecord("0", {}, "frozen_head", 5, "head", score=0.5, seconds=1.0),
        TrialRecord("1", {}, "head_then_all", 2, "block_1", score=0.75, seconds=4.0),
        TrialRecord("2", {}, "head_then_all", 2, "block_1", "stopped", 0.25, seconds=2.0),
        TrialRecord("3", {}, "head_then_all", 1, "block_0", "failed", None),
    ]
    figure = plots.trials_by_depth(records, "val_accuracy", tmp_path / "trials.png")
    above, below = figure.axes
    assert [t.get_text() for t in below.get_xticklabels()] == ["2 (block_1)", "5 (head)"]
    assert above.get_ylabel() == "val_accuracy" and below.get_ylabel() == "seconds"
    drawn = [{tuple(p)[1] for c in axes.collections for p in c.get_offsets()} for axes in (above, below)]
    assert drawn == [{0.5, 0.75, 0.25}, {1.0, 4.0, 2.0}]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["frozen head", "head then all", "stopped early"]
    assert (tmp_path / "trials.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="None of 1 trials"):
        plots.trials_by_depth(records[3:])


def test_users_find_the_figures_here_and_nothing_else():
    from kerasft.learning_rates.figure import learning_rate_curve

    assert plots.learning_rate_curve is learning_rate_curve
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        plots.nothing  # noqa: B018
