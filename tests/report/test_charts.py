"""Charts: where things are, by hand."""

from html_text import Page

from kerasft.report.charts import Line, Points, bars, grid, lines, points


def elements(chart, tag):
    return [attributes for name, attributes in Page(str(chart)).tags if name == tag]


def test_a_line_has_gaps_where_values_are_missing():
    values = [1.0, 2.0, None, 3.0, float("nan"), 4.0, 4.0]
    drawn = elements(lines("t", "d", [Line("a", values, dashed=True)]), "polyline")
    assert [len(line["points"].split()) for line in drawn] == [2, 1, 2]
    assert all("dashed" in line["class"] for line in drawn)
    # 7 epochs share 360 - 46 - 10 = 304 units; the second is in the middle of its seventh
    x, y = map(float, drawn[0]["points"].split()[1].split(","))
    assert abs(x - (46 + 1.5 * 304 / 7)) < 0.1
    # the values have a margin of 6 % of 4 - 1: from 0.82 to 4.18, between 160 (below) and 34
    assert abs(y - (160 - (2 - 0.82) / 3.36 * 126)) < 0.1


def test_a_phase_begins_at_a_line():
    drawn = elements(lines("t", "d", [Line("a", [1, 2, 3, 4])], [0, 0, 0, 1]), "line")
    where = [float(line["x1"]) for line in drawn if line["class"] == "phase"]
    assert where == [46.0, 46 + 3 * 76]  # after three of four epochs of 76 units


def test_a_grid_is_full_where_a_stage_trains():
    shades = [[None, None, 1.0], [0.0, 0.0, 1.0]]
    tips = [["frozen", "frozen", "1e-3"], ["1e-4", "1e-4", "1e-3"]]
    chart = grid("t", "d", ["body", "head"], [0, 1, 2], shades, tips)
    cells = elements(chart, "rect")
    assert [(c["class"], c.get("fill-opacity")) for c in cells] == [
        ("cell", "0.15"), ("cell", "1.00"),  # the head, on top
        ("empty", None), ("cell", "1.00"),
    ]  # fmt: skip
    step = (360 - 92 - 10) / 3
    assert [float(c["width"]) for c in cells[:2]] == [round(2 * step - 1, 1), round(step - 1, 1)]
    text = " ".join(Page(str(chart)).of("").split())
    assert "head, epochs 1 to 2: 1e-4" in text and "body, epoch 3: 1e-3" in text


def test_bars_are_as_long_as_their_values():
    cells = elements(bars("t", "d", ["a", "b", "c"], [2.0, None, 1.0]), "rect")
    widths = [float(c["width"]) for c in cells]
    assert widths == [103.0, 0.8, 206.0]  # 360 - 92 - 62 is the longest; c, b, a from the top
    assert elements(bars("t", "d", ["a"], [0.0]), "rect")[0]["width"] == "0.8"


def test_points_have_shapes_of_their_own():
    one = Points("first", [0], [0.5], [False], ["tip <1>"])
    other = Points("second", [1], [0.5], [True], ["tip 2"])
    chart = points("t", "d", [one, other], ["head", "body"])
    shapes = elements(chart, "path")
    assert len(shapes) == 4 and shapes[0]["d"] == shapes[1]["d"] != shapes[2]["d"]
    assert [s["class"].split()[0] for s in shapes] == ["point", "point", "point", "hollow"]
    assert "tip <1>" in Page(str(chart)).of("")
