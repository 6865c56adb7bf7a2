"""The figure of a ladder."""

import dataclasses
import logging
import sys

import pytest
from kerasft.export.ladder_figure import draw
from ladder_reports import REPORTS


@pytest.mark.parametrize("measured", [True, False])
def test_a_figure_is_drawn_with_and_without_accuracies(tmp_path, measured):
    reports = {n: r if measured else dataclasses.replace(r, quality=None) for n, r in REPORTS.items()}
    draw(reports, "int8", tmp_path / "ladder.png", 0.01, False)
    assert (tmp_path / "ladder.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(FileExistsError, match="overwrite"):
        draw(reports, None, tmp_path / "ladder.png", 0.01, False)
    assert [p.name for p in tmp_path.iterdir()] == ["ladder.png"]


def test_without_matplotlib_there_is_a_warning_and_no_file(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with caplog.at_level(logging.WARNING, "kerasft"):
        draw(REPORTS, "int8", tmp_path / "ladder.png", 0.01, False)
    assert 'ladder.png was left out: pip install "kerasft[plots]"' in caplog.text
    assert list(tmp_path.iterdir()) == []
