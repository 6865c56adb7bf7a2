"""The style of figures: what tells series apart, in grey too, and files that are whole or not there."""

from itertools import pairwise

import matplotlib.colors
import numpy as np
import pytest
from kerasft.export.figures import COLORS, MARKERS, OTHER, color_of, marker_of, new_figure, save_figure


def lightness(color):
    """CIE L* of a color, of 0 to 100: what is left of it in grey."""
    linear = [
        v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in matplotlib.colors.to_rgb(color)
    ]
    return 116 * np.dot([0.2126, 0.7152, 0.0722], linear) ** (1 / 3) - 16


def test_neighbours_differ_in_grey_and_all_markers_differ():
    for one, other in pairwise(COLORS):
        assert abs(lightness(one) - lightness(other)) > 12
    assert abs(lightness(COLORS[0]) - lightness(OTHER)) > 12
    assert len(set(MARKERS)) == len(COLORS) == len(set(COLORS))
    assert (color_of(7), marker_of(7)) == (COLORS[1], MARKERS[1])


def test_series_get_a_color_and_a_marker_each_on_white():
    figure, axes = new_figure()
    lines = [axes.plot([0, 1], [0, i])[0] for i in range(7)]
    assert [line.get_color() for line in lines] == [*COLORS, COLORS[0]]
    assert [line.get_marker() for line in lines] == [*MARKERS, MARKERS[0]]
    assert matplotlib.colors.to_hex(figure.get_facecolor()) == "#ffffff" and figure.get_dpi() == 150


def test_axes_are_as_many_as_asked_for():
    figure, axes = new_figure(2, 3, size=(9, 7), sharey=True)
    assert axes.shape == (2, 3) and tuple(figure.get_size_inches()) == (9, 7)
    axes[0, 0].set_ylim(0, 5)
    assert axes[1, 2].get_ylim() == (0, 5)


def test_a_file_is_kept_where_it_may_not_be_replaced(tmp_path):
    figure, _ = new_figure()
    assert save_figure(figure, tmp_path / "a.png") is figure
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save_figure(figure, tmp_path / "a.png", overwrite=False)
    with pytest.raises(ValueError, match="xyz"):
        save_figure(figure, tmp_path / "a.xyz")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"] and (
        tmp_path / "a.png"
    ).read_bytes() == before
    assert save_figure(figure, None) is figure
