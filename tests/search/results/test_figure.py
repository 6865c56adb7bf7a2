"""The figure of a search."""

import pytest

from kerasft import plots
from kerasft.search.results.figure import trials_by_depth
from kerasft.search.results.record import TrialRecord


def test_trials_by_depth(tmp_path):
    records = [
        TrialRecord("0", {}, "frozen_head", 5, "head", score=0.5, seconds=1.0),
        TrialRecord("1", {}, "head_then_all", 2, "block_1", score=0.75, seconds=4.0),
        TrialRecord("2", {}, "head_then_all", 2, "block_1", "stopped", 0.25, seconds=2.0),
        TrialRecord("3", {}, "head_then_all", 1, "block_0", "failed", None),
    ]
    figure = trials_by_depth(records, "val_accuracy", tmp_path / "trials.png")
    above, below = figure.axes
    assert [t.get_text() for t in below.get_xticklabels()] == ["2 (block_1)", "5 (head)"]
    assert above.get_ylabel() == "val_accuracy" and below.get_ylabel() == "seconds"
    drawn = [{tuple(p)[1] for c in axes.collections for p in c.get_offsets()} for axes in (above, below)]
    assert drawn == [{0.5, 0.75, 0.25}, {1.0, 4.0, 2.0}]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["frozen head", "head then all", "stopped as unlikely"]
    assert (tmp_path / "trials.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="None of 1 trials"):
        trials_by_depth(records[3:])


def test_it_is_among_the_plots():
    assert plots.trials_by_depth is trials_by_depth
