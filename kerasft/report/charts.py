"""Charts as SVG inside the page: lines by epoch, a grid of stages by epochs, bars, and points.

Each has a title and a description for those who do not see it; what lies in a color lies in a dash, a shape,
a fill or a number as well. Colors come from the page's style, for light and dark.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kerasft.report.markup import Markup, element
from kerasft.report.numbers import is_number, short, spread, ticks

WIDTH = 360  # units; about as many pixels as a phone has
_LEFT, _RIGHT, _TOP = 46, 10, 34
_ROW, _NAMES = 15, 92
_LONGEST = 15  # characters of a name in a chart
_SHAPES = (  # a disc, a square, two triangles, a diamond and a cross
    "M-4 0A4 4 0 1 0 4 0A4 4 0 1 0 -4 0Z",
    "M-4 -4H4V4H-4Z",
    "M0 -5L5 4H-5Z",
    "M-5 -4H5L0 5Z",
    "M0 -5.5L5.5 0L0 5.5L-5.5 0Z",
    "M-5 -1.5H-1.5V-5H1.5V-1.5H5V1.5H1.5V5H-1.5V1.5H-5Z",
)


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: Its name.
        values: A value for each epoch; what is no number leaves a gap.
        dashed: Whether it is dashed.
    """

    name: str
    values: Sequence[Any]
    dashed: bool = False


@dataclass(frozen=True)
class Points:
    """Points of one shape.

    Attributes:
        name: Their name.
        places: Their x, from 0.
        values: Their y.
        hollow: Whether each is hollow.
        tips: What each is.
    """

    name: str
    places: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    hollow: list[bool] = field(default_factory=list)
    tips: list[str] = field(default_factory=list)


def lines(title: str, description: str, series: Sequence[Line], phases: Sequence[int] = ()) -> Markup:
    """Draw values by epoch.

    Args:
        title: The chart's title.
        description: What it shows, in words.
        series: The lines.
        phases: The phase of each epoch; a phase begins at a vertical line.
    """
    count = max(len(line.values) for line in series)
    height, bottom = 190, 160

    def across(epoch: float) -> float:
        return _LEFT + (epoch + 0.5) * (WIDTH - _LEFT - _RIGHT) / count

    up, parts = _axis([v for line in series for v in line.values], _TOP, bottom)
    for first in range(count):
        if first == 0 or (first < len(phases) and phases[first] != phases[first - 1]):
            parts += _phase(first, phases, across, bottom)
    for epoch in range(0, count, -(-count // 9)):
        parts.append(_text(across(epoch), bottom + 14, epoch + 1, text_anchor="middle"))
    parts.append(_text((WIDTH + _LEFT) / 2, height - 4, "epoch", text_anchor="middle"))
    for number, line in enumerate(series):
        style = f"line s{number + 1}{' dashed' if line.dashed else ''}"
        for piece in _pieces(line.values):
            places = [(across(e), up(line.values[e])) for e in piece]
            parts.append(
                element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places), class_=style)
            )
            if len(piece) == 1 or count <= 30:
                dot = {"r": 2, "class_": f"dot s{number + 1}"}
                parts += [element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", **dot) for x, y in places]
        parts += _line_key(number, line, style)
    return _drawing(title, description, height, parts)


def grid(
    title: str,
    description: str,
    names: Sequence[str],
    epochs: Sequence[int],
    shades: Sequence[Sequence[float | None]],
    tips: Sequence[Sequence[str]],
) -> Markup:
    """Draw a row of cells for each stage, a column for each epoch; the last stage is on top.

    Args:
        title: The chart's title.
        description: What it shows, in words.
        names: The stages.
        epochs: The epochs, from 0.
        shades: For each stage how full the color of each cell is, 0 to 1; None leaves it empty.
        tips: For each stage what each cell says.
    """
    step = (WIDTH - _NAMES - _RIGHT) / max(len(epochs), 1)
    height, parts = 8 + _ROW * len(names) + 30, []
    for row, (name, dark, said) in enumerate(_from_top(names, shades, tips)):
        y = 8 + _ROW * row
        parts.append(_text(_NAMES - 6, y + 10.5, name, text_anchor="end"))
        cells = list(zip(dark, said, strict=True))
        place = 0
        for (shade, tip), run in itertools.groupby(cells):
            length = len(list(run))
            where = {"x": f"{_NAMES + place * step:.1f}", "y": y, "height": _ROW - 3,
                     "width": f"{max(length * step - 1, 0.5):.1f}"}  # fmt: skip
            first, last = epochs[place] + 1, epochs[place + length - 1] + 1
            when = f"epoch {first}" if first == last else f"epochs {first} to {last}"
            tip = element("title", f"{name}, {when}: {tip}")
            look = {"class_": "empty"} if shade is None else {"class_": "cell", "fill_opacity": _dark(shade)}
            parts.append(element("rect", tip, **where, **look))
            place += length
    for place in range(0, len(epochs), -(-len(epochs) // 9) or 1):
        x = _NAMES + (place + 0.5) * step
        parts.append(_text(x, height - 18, epochs[place] + 1, text_anchor="middle"))
    parts.append(_text((WIDTH + _NAMES) / 2, height - 4, "epoch", text_anchor="middle"))
    return _drawing(title, description, height, parts)


def bars(title: str, description: str, names: Sequence[str], values: Sequence[Any]) -> Markup:
    """Draw a bar for each stage with its number; the last stage is on top."""
    largest = max([v for v in values if is_number(v)], default=0) or 1
    room = WIDTH - _NAMES - 62
    height, parts = 12 + _ROW * len(names), []
    for row, (name, value) in enumerate(_from_top(names, values)):
        y = 8 + _ROW * row
        length = room * max(value, 0.0) / largest if is_number(value) else 0.0
        parts.append(_text(_NAMES - 6, y + 10.5, name, text_anchor="end"))
        where = {"x": _NAMES, "y": y, "width": f"{max(length, 0.8):.1f}", "height": _ROW - 3}
        parts.append(element("rect", element("title", f"{name}: {short(value)}"), **where, class_="cell"))
        parts.append(_text(_NAMES + length + 5, y + 10.5, short(value)))
    return _drawing(title, description, height, parts)


def points(title: str, description: str, series: Sequence[Points], names: Sequence[str]) -> Markup:
    """Draw points over named places.

    Args:
        title: The chart's title.
        description: What it shows, in words.
        series: The points, each with a shape of its own.
        names: The names of the places.
    """
    top = 16 + 15 * len(series)
    bottom, longest = top + 150, max(len(_cut(name)) for name in names)
    height = bottom + 20 + round(5.2 * longest)
    up, parts = _axis([v for s in series for v in s.values], top, bottom)
    step = (WIDTH - _LEFT - _RIGHT) / len(names)
    for place in spread(len(names), 20):
        x = _LEFT + (place + 0.5) * step
        turned = f"translate({x + 4:.1f} {bottom + 12}) rotate(-60)"
        parts.append(_text(0, 0, names[place], text_anchor="end", transform=turned))
    for number, one in enumerate(series):
        parts.append(_shape(number, 16, 10 + 15 * number, False))
        parts.append(_text(26, 14 + 15 * number, one.name, whole=True))
        shift = (number - (len(series) - 1) / 2) * min(9, step / (len(series) + 1))
        for at, value, hollow, tip in zip(one.places, one.values, one.hollow, one.tips, strict=True):
            x = _LEFT + (at + 0.5) * step + shift
            parts.append(_shape(number, x, up(value), hollow, tip))
    return _drawing(title, description, height, parts)


def _drawing(title: str, description: str, height: float, parts: Sequence[Markup]) -> Markup:
    said = element("title", title), element("desc", description)
    whole = element("svg", *said, *parts, viewBox=f"0 0 {WIDTH} {height:.0f}", role="img", aria_label=title)
    return element("figure", element("figcaption", title), whole)


def _axis(values: Sequence[Any], top: float, bottom: float) -> tuple[Callable[[float], float], list[Markup]]:
    """Where each value is, and the lines of the axis."""
    known = [v for v in values if is_number(v)] or [0.0, 1.0]
    low, high = min(known), max(known)
    pad = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    low, high = (max(low - pad, 0.0) if low >= 0 else low - pad), high + pad

    def up(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    parts = []
    for tick in ticks(low, high):
        y = f"{up(tick):.1f}"
        parts.append(element("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y, y2=y, class_="rule"))
        parts.append(_text(_LEFT - 5, up(tick) + 3.5, f"{tick:g}", text_anchor="end"))
    return up, parts


def _phase(
    first: int, phases: Sequence[int], across: Callable[[float], float], bottom: float
) -> list[Markup]:
    """The line where a phase begins, and its number."""
    if not phases:
        return []
    x = across(first - 0.5)
    last = next((e for e in range(first, len(phases)) if phases[e] != phases[first]), len(phases)) - 1
    room = across(last + 0.5) - x
    name = f"phase {phases[first] + 1}" if room > 46 else str(phases[first] + 1)
    line = element("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=_TOP - 12, y2=bottom, class_="phase")
    return [line, *([_text(x + 3, _TOP - 4, name, class_="quiet")] if room > 10 else [])]


def _line_key(number: int, line: Line, style: str) -> list[Markup]:
    x = _LEFT + 120 * number
    sample = element("line", x1=x, x2=x + 22, y1=8, y2=8, class_=style)
    return [sample, _text(x + 27, 12, line.name, whole=True)]


def _pieces(values: Sequence[Any]) -> list[list[int]]:
    """The runs of epochs that have values."""
    groups = itertools.groupby(range(len(values)), key=lambda epoch: is_number(values[epoch]))
    return [list(run) for known, run in groups if known]


def _shape(number: int, x: float, y: float, hollow: bool, tip: str | None = None) -> Markup:
    """A point: a shape and a color for each series."""
    look = f"{'hollow' if hollow else 'point'} s{number % 6 + 1}"
    inner = [] if tip is None else [element("title", tip)]
    where = f"translate({x:.1f} {y:.1f})"
    return element("path", *inner, d=_SHAPES[number % len(_SHAPES)], class_=look, transform=where)


def _text(x: float, y: float, text: object, whole: bool = False, **attributes: object) -> Markup:
    shown = str(text) if whole else _cut(str(text))
    place = {} if "transform" in attributes else {"x": f"{x:.1f}", "y": f"{y:.1f}"}
    return element("text", shown, **place, **attributes)


def _from_top(*columns: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Rows of columns, the last one first."""
    return list(zip(*columns, strict=True))[::-1]


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def _dark(shade: float) -> str:
    return f"{0.15 + 0.85 * min(max(shade, 0.0), 1.0):.2f}"
