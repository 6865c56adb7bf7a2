"""Tables as plain text, drawn by rich."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def plain_text(table: Table, width: int = 110) -> str:
    """A table of rich as text without colors.

    Args:
        table: The table.
        width: The most characters of a line.
    """
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table)
    lines = str(console.file.getvalue()).rstrip().split("\n")  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in lines)


def columns_of_text(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows in aligned columns, two spaces apart, without lines between them.

    Args:
        header: The first row.
        rows: The others, each with as many cells.

    Example:
        >>> print(columns_of_text(["name", "steps"], [["body", "12"]]))
        name  steps
        body  12
    """
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for cell in header:
        table.add_column(Text(cell))
    for row in rows:
        table.add_row(*map(Text, row))
    return plain_text(table, width=10_000)
