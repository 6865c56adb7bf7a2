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


def test_the_choice_has_a_ring_around_whatever_lies_on_it(tmp_path, monkeypatch):
    """int8_io, drawn later, hides int8; the ring and its name come after both."""
    from matplotlib.axes import Axes

    drawn, names = [], []
    scatter, annotate = Axes.scatter, Axes.annotate
    monkeypatch.setattr(
        Axes, "scatter", lambda self, x, y, **o: drawn.append((x, y, o)) or scatter(self, x, y, **o)
    )
    monkeypatch.setattr(
        Axes, "annotate", lambda self, text, *a, **o: names.append(text) or annotate(self, text, *a, **o)
    )
    same = {**REPORTS, "int8_io": dataclasses.replace(REPORTS["int8"], io="int8")}
    draw(same, "int8", tmp_path / "a.png", 0.01, False)
    (x, y, ring), others = drawn[-1], drawn[:-1]
    assert (x, y) == (240 / 1e6, 87.0) and ring["facecolor"] == "none" and "int8, the choice" in names
    assert ring["s"] > max(o["s"] for _, _, o in others) and ring["zorder"] > max(
        o["zorder"] for _, _, o in others
    )
    drawn.clear()
    draw(same, None, tmp_path / "b.png", 0.01, False)
    assert len(drawn) == len(same)


def test_without_matplotlib_there_is_a_warning_and_no_file(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with caplog.at_level(logging.WARNING, "kerasft"):
        draw(REPORTS, "int8", tmp_path / "ladder.png", 0.01, False)
    assert 'ladder.png was left out: pip install "kerasft[plots]"' in caplog.text
    assert list(tmp_path.iterdir()) == []
