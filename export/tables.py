"""A table as plain text and as HTML, for reports that are printed or shown in a notebook."""

from __future__ import annotations

import html
import io
from collections.abc import Iterable, Sequence

_CELL = "padding: 0.2em 0.8em; vertical-align: top; border-bottom: 1px solid rgba(128, 128, 128, 0.4)"


def plain_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay rows out in columns under a header, without lines, styles or wrapping.

    Example:
        >>> print(plain_table(["target", "pieces"], [["gpu", "1"], ["xnnpack", "2"]]))
        target   pieces
        gpu      1
        xnnpack  2
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for name in header:
        table.add_column(Text(name), no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    text = io.StringIO()
    Console(file=text, width=100_000, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def html_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "", notes: Sequence[str] = ()
) -> str:
    """A table as HTML for a notebook: every text escaped, in the notebook's own colors, light or dark.

    Args:
        header: Names of the columns.
        rows: The cells; columns of numbers stand to the right.
        title: A line above the table.
        notes: Lines below it.

    Example:
        >>> html_table(["stage"], [["<head>"]]).count("&lt;head&gt;")
        1
    """
    cells = [[str(cell) for cell in row] for row in rows]
    sides = ["right" if _are_numbers(column) else "left" for column in zip(*cells, strict=True)]
    sides += ["left"] * (len(header) - len(sides))  # without rows
    body = "".join(f"<tr>{_cells('td', row, sides)}</tr>" for row in cells)
    caption = f'<caption style="text-align: left">{html.escape(title)}</caption>' if title else ""
    below = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    head = f"<thead><tr>{_cells('th', header, sides)}</tr></thead>"
    whole = f'<table style="border-collapse: collapse">{caption}{head}<tbody>{body}</tbody></table>'
    return f'<div style="overflow-x: auto">{whole}{below}</div>'


def _cells(tag: str, texts: Sequence[str], sides: Sequence[str]) -> str:
    return "".join(
        f'<{tag} style="text-align: {side}; {_CELL}">{html.escape(text)}</{tag}>'
        for text, side in zip(texts, sides, strict=True)
    )


def _are_numbers(column: Sequence[str]) -> bool:
    found = [text.lstrip("-+−") for text in column if text]
    return bool(found) and all(text[:1].isdigit() for text in found)
