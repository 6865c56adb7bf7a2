"""The figure of a range test: what is drawn."""

from kerasft.learning_rates.figure import learning_rate_curve

RATES = [1e-4, 1e-3, 1e-2, 1e-1]


def test_a_learning_rate_curve(tmp_path):
    figure = learning_rate_curve(
        RATES, [2.0, 1.8, 1.0, 9.0], [2.0, 1.9, 1.4, 5.0], {"valley": 1e-3}, tmp_path / "curve.png"
    )
    (axes,) = figure.axes
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "learning rate"
    assert [line.get_label() for line in axes.lines] == ["loss of one step", "smoothed", "valley: 1.0e-03"]
    assert list(axes.lines[1].get_ydata()) == [2.0, 1.9, 1.4, 5.0]
    assert [p.name for p in tmp_path.iterdir()] == ["curve.png"]
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
