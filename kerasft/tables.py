"""Tables as plain text, drawn by rich: one with lines for `print`, one in columns for reports."""

from __future__ import annotations

import io

from rich.console import Console
from rich.table import Table

from kerasft.export.plain_table import plain_table

__all__ = ["plain_table", "plain_text"]


def plain_text(table: Table, width: int = 110) -> str:
    """A table of rich as text without colors.

    Args:
        table: The table.
        width: The most characters of a line.
    """
    text = io.StringIO()
    Console(file=text, width=width, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().rstrip().split("\n"))
